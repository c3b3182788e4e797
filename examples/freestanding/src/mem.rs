//! The functions that compiled Rust calls for itself. On targets without an operating system the
//! compiler brings them; on this one it leaves them to the C library.
//!
//! Byte by byte, and volatile: the compiler may take any other loop for a `memcpy`, and call that.

/// # Safety
/// `from` can be read and `to` written for `len` bytes; they do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: by contract; ranges that do not overlap are a case of those that may.
    unsafe { memmove(to, from, len) }
}

/// # Safety
/// `from` can be read and `to` written for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    let up = to.addr() <= from.addr();
    for step in 0..len {
        let at = if up { step } else { len - 1 - step };
        // SAFETY: `at < len`; going this way no byte is read after it was overwritten.
        let byte = unsafe { from.wrapping_add(at).read() };
        // SAFETY: `at < len`.
        unsafe { to.wrapping_add(at).write_volatile(byte) };
    }
    to
}

/// # Safety
/// `to` can be written for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    for at in 0..len {
        // SAFETY: `at < len`.
        unsafe { to.wrapping_add(at).write_volatile(byte as u8) };
    }
    to
}

/// # Safety
/// Both can be read for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for at in 0..len {
        // SAFETY: `at < len`.
        let a = unsafe { a.wrapping_add(at).read_volatile() };
        // SAFETY: `at < len`.
        let b = unsafe { b.wrapping_add(at).read_volatile() };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As for `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: by contract.
    unsafe { memcmp(a, b, len) }
}
