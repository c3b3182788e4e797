//! The signal that the server ends, seen by all threads that read.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// A signal that is set once. As a descriptor it is readable from then on.
#[derive(Debug)]
pub(crate) struct StopSignal {
    set: AtomicBool,
    wake: UnixStream,
    woken: UnixStream,
}

impl StopSignal {
    pub(crate) fn new() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        Ok(Self {
            set: AtomicBool::new(false),
            wake,
            woken,
        })
    }

    pub(crate) fn set(&self) {
        // Release pairs with the Acquire in `is_set`: a thread that is woken finds it set.
        self.set.store(true, Ordering::Release);
        // It fails only if it was shut down before.
        let _ = self.wake.shutdown(Shutdown::Both);
    }

    pub(crate) fn is_set(&self) -> bool {
        // Acquire pairs with the Release in `set`.
        self.set.load(Ordering::Acquire)
    }
}

impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
