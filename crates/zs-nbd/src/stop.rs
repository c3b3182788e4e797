//! The server's end, told to all threads that read.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// Said once. As a descriptor it is readable from then on.
#[derive(Debug)]
pub(crate) struct Stop {
    said: AtomicBool,
    wake: UnixStream,
    woken: UnixStream,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        Ok(Self {
            said: AtomicBool::new(false),
            wake,
            woken,
        })
    }

    pub(crate) fn say(&self) {
        // Release: with the acquiring load in `is_said`. Who is woken finds it said.
        self.said.store(true, Ordering::Release);
        // It fails only if it was done before.
        let _ = self.wake.shutdown(Shutdown::Both);
    }

    pub(crate) fn is_said(&self) -> bool {
        // Acquire: with the releasing store in `say`.
        self.said.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
