//! The result of a call, and its text.

use core::cell::RefCell;
use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;

/// What a call answers. Whatever it is but `ZS_OK`, nothing has changed, unless the function says
/// otherwise. Later versions may add values.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum zs_result {
    /// Done.
    ZS_OK = 0,
    /// A pointer is NULL that must not be.
    ZS_NULL = 1,
    /// An argument is out of bounds: `zs_last_error()` says which, and what is allowed.
    ZS_INVALID = 2,
    /// An object of 0 bytes: at least 1 is needed.
    ZS_ZERO_SIZE = 3,
    /// More bytes than a page, or a range beyond the object's end.
    ZS_TOO_LARGE = 4,
    /// The buffer is too short; the length that is needed was written.
    ZS_BUFFER_TOO_SMALL = 5,
    /// The arena's limit or the system's memory is reached, or the pool has no handle left.
    ZS_NO_MEMORY = 6,
    /// The handle names no object of this pool: freed, another pool's, or never one.
    ZS_STALE = 7,
    /// In use in a way that excludes this: try again when the others have left.
    ZS_BUSY = 8,
    /// A view that is not open: it was ended, copied, or never begun.
    ZS_NOT_OPEN = 9,
    /// The pointer names no arena, pool or watcher: destroyed, or never one.
    ZS_GONE = 10,
    /// The process has as many arenas, pools or watchers as there can be.
    ZS_TOO_MANY = 11,
    /// This process is a forked child of the pool's: it may read, and destroy.
    ZS_FORKED = 12,
    /// The system refused: `zs_last_error()` says what.
    ZS_SYSTEM = 13,
    /// The pool does not add up: `zs_last_error()` says where. A fault of this library, or memory
    /// that somebody overwrote.
    ZS_CORRUPT = 14,
    /// A fault of this library; its message went to standard error.
    ZS_INTERNAL = 15,
}

use zs_result::*;

/// The texts, by number.
const TEXTS: [&CStr; 16] = [
    c"done",
    c"a pointer is NULL that must not be",
    c"an argument is out of bounds",
    c"an object of 0 bytes: at least 1 is needed",
    c"too many bytes: more than a page, or beyond the end of the object",
    c"the buffer is too short",
    c"no memory: the limit is reached, or the system refused memory",
    c"stale handle: it names no object of this pool",
    c"busy: in use, try again later",
    c"not open: ended, copied or never begun",
    c"no such arena, pool or watcher: destroyed, or never one",
    c"too many arenas, pools or watchers in this process",
    c"the pool is the parent's: a forked child may only read and destroy",
    c"the system refused",
    c"the pool does not add up",
    c"a fault of libzsmalloc",
];

/// The text of a result, in English; the library's for ever. Any number may be asked for.
#[unsafe(no_mangle)]
pub extern "C" fn zs_strerror(result: c_int) -> *const c_char {
    let text = usize::try_from(result).ok().and_then(|at| TEXTS.get(at));
    text.map_or(c"unknown result", |text| text).as_ptr()
}

/// The library's version, such as `"0.1.0"`; the library's for ever.
#[unsafe(no_mangle)]
pub extern "C" fn zs_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// More about the last call of this thread that answered `ZS_INVALID`, `ZS_SYSTEM` or `ZS_CORRUPT`:
/// which argument or file, and what would be right. `""` before the first. Valid until the thread's
/// next such call, or its end.
#[unsafe(no_mangle)]
pub extern "C" fn zs_last_error() -> *const c_char {
    // A thread that is ending has none any more.
    LAST.try_with(|last| last.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

/// Keeps what [`zs_last_error`] will say.
fn explain(what: String) {
    // A text from here has no NUL but by way of a name that has one.
    let text = CString::new(what.replace('\0', " ")).unwrap_or_default();
    let _ = LAST.try_with(|last| last.replace(text));
}

/// `ZS_INVALID`, explained.
#[cold]
pub(crate) fn invalid(what: impl Into<String>) -> zs_result {
    explain(what.into());
    ZS_INVALID
}

/// `ZS_SYSTEM`, explained.
#[cold]
pub(crate) fn system(what: impl ToString) -> zs_result {
    explain(what.to_string());
    ZS_SYSTEM
}

/// `ZS_CORRUPT`, explained.
#[cold]
pub(crate) fn corrupt(what: impl ToString) -> zs_result {
    explain(what.to_string());
    ZS_CORRUPT
}

impl From<zsmalloc::Error> for zs_result {
    fn from(error: zsmalloc::Error) -> Self {
        use zsmalloc::Error;
        match error {
            Error::ZeroSize => ZS_ZERO_SIZE,
            Error::TooLarge { .. } => ZS_TOO_LARGE,
            Error::BufferTooSmall { .. } => ZS_BUFFER_TOO_SMALL,
            Error::NoMemory => ZS_NO_MEMORY,
            Error::Stale => ZS_STALE,
            Error::Busy => ZS_BUSY,
            Error::Forked => ZS_FORKED,
            other => invalid(other.to_string()),
        }
    }
}

impl From<zs_mm::Error> for zs_result {
    fn from(error: zs_mm::Error) -> Self {
        match error {
            zs_mm::Error::NoMemory => ZS_NO_MEMORY,
            other => invalid(other.to_string()),
        }
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    fn text(of: *const c_char) -> String {
        // SAFETY: every text ends with NUL and lives on.
        unsafe { CStr::from_ptr(of) }.to_string_lossy().into_owned()
    }

    #[test]
    fn every_number_has_a_text() {
        assert_eq!(text(zs_strerror(ZS_OK as c_int)), "done");
        assert!(text(zs_strerror(ZS_STALE as c_int)).starts_with("stale"));
        assert_eq!(
            text(zs_strerror(ZS_INTERNAL as c_int)),
            "a fault of libzsmalloc"
        );
        for number in [-1, 16, c_int::MIN, c_int::MAX] {
            assert_eq!(text(zs_strerror(number)), "unknown result");
        }
        assert_eq!(text(zs_version()), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn explanations_are_the_threads_own() {
        assert_eq!(invalid("the limit"), ZS_INVALID);
        std::thread::spawn(|| system("a \0 file"))
            .join()
            .expect("no panic");
        assert_eq!(text(zs_last_error()), "the limit");
        assert_eq!(corrupt("a \0 word"), ZS_CORRUPT);
        assert_eq!(text(zs_last_error()), "a   word");
    }
}
