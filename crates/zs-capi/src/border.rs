//! The border to C: panics end here, and pointers become references.

use crate::result::zs_result;
use crate::result::zs_result::{ZS_INTERNAL, ZS_NULL, ZS_OK, ZS_TOO_LARGE};
use core::ffi::{CStr, c_char, c_void};
use core::ptr::NonNull;
use std::panic::{AssertUnwindSafe, catch_unwind};
use zs_mm::PageSize;

/// More bytes than any object has: a buffer is looked at no further.
const LONGEST: usize = PageSize::K64.bytes() + 1;

/// Runs what an exported function does, and answers for it; a panic goes no further.
#[inline]
pub(crate) fn answer(call: impl FnOnce() -> Result<(), zs_result>) -> zs_result {
    // Unwind safe: what a panic leaves behind is what it leaves behind in a Rust program, too.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => ZS_OK,
        Ok(Err(error)) => error,
        Err(_) => ZS_INTERNAL,
    }
}

/// A place for a result, in C's memory.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// A place that must be there.
    ///
    /// # Safety
    /// `place` is NULL, or valid for a write of a `T` for as long as the value lives.
    #[inline]
    pub(crate) unsafe fn new(place: *mut T) -> Result<Self, zs_result> {
        NonNull::new(place).map(Self).ok_or(ZS_NULL)
    }

    /// A place that nobody need be interested in.
    ///
    /// # Safety
    /// As for [`new`](Self::new).
    #[inline]
    pub(crate) unsafe fn optional(place: *mut T) -> Option<Self> {
        NonNull::new(place).map(Self)
    }

    /// The place, for what is longer or shorter than a `T` on the other side.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Writes the result.
    #[inline]
    pub(crate) fn set(&self, value: T) {
        // SAFETY: valid for a write, by the contract of `new`, aligned or not; what was there is
        // C's, and needs no drop.
        unsafe { self.0.write_unaligned(value) };
    }
}

/// The bytes that C hands in. NULL is right for none.
///
/// # Safety
/// `bytes` is NULL, or `len` bytes are there, which nobody writes to during `'a`.
#[inline]
pub(crate) unsafe fn bytes<'a>(bytes: *const c_void, len: usize) -> Result<&'a [u8], zs_result> {
    if len == 0 {
        return Ok(&[]);
    }
    if bytes.is_null() {
        return Err(ZS_NULL);
    }
    if len > LONGEST {
        return Err(ZS_TOO_LARGE);
    }
    // SAFETY: 1. Readable and unchanged by contract. 2. `len` is far below `isize::MAX`.
    Ok(unsafe { core::slice::from_raw_parts(bytes.cast(), len) })
}

/// The buffer that C lends: as much of it as an object could fill. NULL is right for none.
///
/// # Safety
/// `buffer` is NULL, or `capacity` bytes are there, which nobody else touches during `'a`.
#[inline]
pub(crate) unsafe fn buffer<'a>(
    buffer: *mut c_void,
    capacity: usize,
) -> Result<&'a mut [u8], zs_result> {
    if capacity == 0 {
        return Ok(&mut []);
    }
    if buffer.is_null() {
        return Err(ZS_NULL);
    }
    // SAFETY: 1. Writable and this call's alone by contract. 2. The length is far below
    // `isize::MAX`.
    // 3. What C left there unwritten is only overwritten, never read.
    Ok(unsafe { core::slice::from_raw_parts_mut(buffer.cast(), capacity.min(LONGEST)) })
}

/// The text that C hands in, without its NUL; NULL is the empty one.
///
/// # Safety
/// `text` is NULL, or ends with a NUL and does not change during `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> &'a CStr {
    if text.is_null() {
        return c"";
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_at_the_border() {
        assert_eq!(answer(|| panic!("on purpose")), ZS_INTERNAL);
        assert_eq!(answer(|| Ok(())), ZS_OK);
    }

    #[test]
    fn lengths_without_bytes_are_refused() {
        let null = core::ptr::null_mut();
        // SAFETY: NULL.
        assert_eq!(unsafe { bytes(null, 1) }, Err(ZS_NULL));
        // SAFETY: NULL.
        assert_eq!(unsafe { bytes(null, 0) }, Ok(&[][..]));
        // SAFETY: NULL.
        assert_eq!(unsafe { buffer(null, 1) }, Err(ZS_NULL));
        let byte = 7_u8;
        // SAFETY: refused before a byte is looked at.
        let refused = unsafe { bytes((&raw const byte).cast(), usize::MAX) };
        assert_eq!(refused, Err(ZS_TOO_LARGE));
    }
}
