//! Locks on files and block devices.

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Locks a file or device (`flock`) until it is closed. Returns false if it is locked already.
/// Never waits.
///
/// # Errors
/// The system's error if the file cannot be locked at all.
pub fn lock_file(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        outcome => Ok(outcome.map(|()| true)?),
    }
}

/// Opens a file or block device for reading and writing. A device is claimed until it is closed, so
/// that it can be neither mounted nor claimed meanwhile. (`O_EXCL` does this for block devices
/// only, see open(2).)
///
/// # Errors
/// The system's error; [`io::ErrorKind::ResourceBusy`] for a device that is mounted or claimed
/// already.
pub fn open_claimed(path: &Path) -> io::Result<File> {
    let is_device = std::fs::metadata(path)?.file_type().is_block_device();
    let claim = if is_device {
        OFlags::EXCL
    } else {
        OFlags::empty()
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(claim.bits() as i32)
        .open(path)?;
    if file.metadata()?.file_type().is_block_device() != is_device {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another file came to this path meanwhile",
        ));
    }
    Ok(file)
}
