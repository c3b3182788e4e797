//! Files for one user at a time.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;

/// Locks a file or device (`flock`) until it is closed; false if somebody else has.
///
/// # Errors
/// The system's, if the file cannot be locked at all.
pub fn lock_file(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        outcome => Ok(outcome.map(|()| true)?),
    }
}
