//! snmalloc.

use super::block::Malloc;
use snmalloc_sys::{sn_rust_alloc, sn_rust_dealloc};

/// The process's heap.
pub(super) struct Snmalloc;

/// What a byte needs.
const ALIGN: usize = 1;

// SAFETY: as Rust's `GlobalAlloc` says of its two functions.
unsafe impl Malloc for Snmalloc {
    fn allocate(&self, len: usize) -> *mut u8 {
        // SAFETY: any size but 0 may be asked for, and none is.
        unsafe { sn_rust_alloc(ALIGN, len) }.cast()
    }

    unsafe fn free(&self, block: *mut u8, len: usize) {
        // SAFETY: by this function's contract.
        unsafe { sn_rust_dealloc(block.cast(), ALIGN, len) };
    }
}
