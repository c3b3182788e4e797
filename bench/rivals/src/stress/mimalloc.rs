//! Blobs in blocks of mimalloc of their exact size.

#![expect(unsafe_code, reason = "its functions are C's")]

use super::blobs::Blobs;
use anyhow::{Context as _, Result};
use libmimalloc_sys::{mi_free, mi_malloc};
use std::ptr::{self, NonNull};
use std::slice;

/// The process's heap.
pub(super) struct Mimalloc;

/// A block.
#[derive(Clone, Copy)]
pub(super) struct Block(NonNull<u8>);

// SAFETY: plain memory, without any tie to a thread.
unsafe impl Send for Block {}

impl Blobs for Mimalloc {
    type Name = Block;

    fn store(&self, bytes: &[u8]) -> Result<Block> {
        // SAFETY: any size may be asked for.
        let block = unsafe { mi_malloc(bytes.len()) };
        let block = NonNull::new(block.cast::<u8>()).context("no memory")?;
        // SAFETY: the block is new and as long as the slice.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), block.as_ptr(), bytes.len()) };
        Ok(Block(block))
    }

    fn show(
        &self,
        Block(block): Block,
        len: usize,
        see: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<()> {
        // SAFETY: the worker's own block of so many bytes, written when it was stored, not freed
        // yet.
        see(unsafe { slice::from_raw_parts(block.as_ptr(), len) })
    }

    fn change(
        &self,
        Block(block): Block,
        len: usize,
        change: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        // SAFETY: as above; nobody else uses it.
        change(unsafe { slice::from_raw_parts_mut(block.as_ptr(), len) })
    }

    fn free(&self, Block(block): Block) -> Result<()> {
        // SAFETY: the worker's own block, which it uses no more.
        unsafe { mi_free(block.as_ptr().cast()) };
        Ok(())
    }
}
