//! malloc of the C library.

use super::block::Malloc;

/// The process's heap.
pub(super) struct Glibc;

// SAFETY: as the C standard says.
unsafe impl Malloc for Glibc {
    fn allocate(&self, len: usize) -> *mut u8 {
        // SAFETY: any size may be asked for.
        unsafe { libc::malloc(len) }.cast()
    }

    unsafe fn free(&self, block: *mut u8, _: usize) {
        // SAFETY: by this function's contract.
        unsafe { libc::free(block.cast()) };
    }

    fn purge(&self) {
        // SAFETY: it may be called at any time.
        unsafe { libc::malloc_trim(0) };
    }
}
