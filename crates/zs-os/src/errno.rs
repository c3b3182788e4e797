//! `errno`, for libraries whose callers are C programs.

/// The reason why a call failed, as a number of C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Errno {
    /// `EINVAL`: an argument is wrong.
    Invalid = libc::EINVAL,
    /// `ENOMEM`: no memory, or a limit is reached.
    NoMemory = libc::ENOMEM,
    /// `ENOSPC`: the request can never fit.
    NoSpace = libc::ENOSPC,
    /// `EBUSY`: in use.
    Busy = libc::EBUSY,
    /// `EIO`: the library failed.
    Failed = libc::EIO,
}

/// Sets `errno` of the calling thread.
pub fn set_errno(errno: Errno) {
    // SAFETY: the call takes nothing, and gives the location of this thread's `errno`.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: the location is this thread's alone, and lives as long as it.
    unsafe { *location = errno as i32 };
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn errno_is_what_was_set_and_the_threads_own() {
        set_errno(Errno::NoSpace);
        std::thread::spawn(|| set_errno(Errno::Busy))
            .join()
            .expect("no panic");
        assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::ENOSPC));
    }
}
