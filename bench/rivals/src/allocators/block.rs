//! Blobs in blocks of their exact size.

use anyhow::{Context as _, Result};
use bench_own::allocators::Blobs;
use std::ptr::{self, NonNull};
use std::slice;

/// An allocator of the C kind.
///
/// # Safety
/// `allocate` returns null, or a block of so many bytes that nobody else has until it is freed by
/// `free` with the same length; both may be called by all threads.
pub(super) unsafe trait Malloc: Sync {
    /// A block of `len` bytes, at least 1, or null.
    fn allocate(&self, len: usize) -> *mut u8;

    /// Takes a block back.
    ///
    /// # Safety
    /// The block came from `allocate` with this length, and nobody uses it any more.
    unsafe fn free(&self, block: *mut u8, len: usize);

    /// See [`Blobs::flush_thread`].
    fn flush_thread(&self) {}

    /// See [`Blobs::purge`].
    fn purge(&self) {}
}

/// The blocks of an allocator, as blobs.
pub(super) struct Blocks<M>(pub(super) M);

/// A block, and its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    place: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory, without any tie to a thread.
unsafe impl Send for Block {}

impl<M: Malloc> Blobs for Blocks<M> {
    type Name = Block;

    const NO_NAME: Block = Block {
        place: NonNull::dangling(),
        len: 0,
    };

    fn store(&self, _: u32, bytes: &[u8]) -> Result<Block> {
        let place = NonNull::new(self.0.allocate(bytes.len())).context("no memory")?;
        // SAFETY: the block is new and as long as the slice.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
        Ok(Block {
            place,
            len: bytes.len(),
        })
    }

    fn load(&self, block: Block, buffer: &mut [u8]) -> Result<usize> {
        let place = buffer
            .get_mut(..block.len)
            .context("the buffer is too small")?;
        // SAFETY: the caller's own block of so many bytes, written when it was stored, not freed
        // yet; no name has no byte.
        place.copy_from_slice(unsafe { slice::from_raw_parts(block.place.as_ptr(), block.len) });
        Ok(block.len)
    }

    fn free(&self, block: Block) -> Result<()> {
        if block.len > 0 {
            // SAFETY: the caller's own block, which it uses no more.
            unsafe { self.0.free(block.place.as_ptr(), block.len) };
        }
        Ok(())
    }

    fn flush_thread(&self) {
        self.0.flush_thread();
    }

    fn purge(&self) {
        self.0.purge();
    }
}
