//! Storage of a file given back while the file stays as long as it is.

use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;

/// Makes a range of a file, or of a block device, a hole: it reads as zeros, and takes no storage.
/// May block as long as a write.
///
/// # Errors
/// The system's: for a file system or a device that cannot do it, the range stays as it is.
pub fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, offset, len)?)
}
