//! jemalloc.

use super::block::Malloc;
use std::ffi::CStr;
use std::ptr;
use tikv_jemalloc_sys::{free, mallctl, malloc};

/// The process's heap.
pub(super) struct Jemalloc;

// SAFETY: as the C standard says of malloc and free.
unsafe impl Malloc for Jemalloc {
    fn allocate(&self, len: usize) -> *mut u8 {
        // SAFETY: any size may be asked for.
        unsafe { malloc(len) }.cast()
    }

    unsafe fn free(&self, block: *mut u8, _: usize) {
        // SAFETY: by this function's contract.
        unsafe { free(block.cast()) };
    }

    fn flush_thread(&self) {
        control(c"thread.tcache.flush");
    }

    fn purge(&self) {
        // 4096 is MALLCTL_ARENAS_ALL.
        control(c"arena.4096.purge");
    }
}

/// A control that takes and gives nothing. One that this jemalloc does not know does nothing.
fn control(name: &CStr) {
    let (no, none) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the name is a C string; no place for a value is given, and no value.
    unsafe { mallctl(name.as_ptr(), none, ptr::null_mut(), no, 0) };
}
