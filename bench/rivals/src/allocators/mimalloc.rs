//! mimalloc 3.

use super::block::Malloc;
use libmimalloc_sys::{mi_collect, mi_free, mi_malloc};

/// The process's heap.
pub(super) struct Mimalloc;

// SAFETY: as the C standard says of malloc and free.
unsafe impl Malloc for Mimalloc {
    fn allocate(&self, len: usize) -> *mut u8 {
        // SAFETY: any size may be asked for.
        unsafe { mi_malloc(len) }.cast()
    }

    unsafe fn free(&self, block: *mut u8, _: usize) {
        // SAFETY: by this function's contract.
        unsafe { mi_free(block.cast()) };
    }

    fn flush_thread(&self) {
        // SAFETY: it may be called at any time; it is about the calling thread's heap.
        unsafe { mi_collect(true) };
    }
}
