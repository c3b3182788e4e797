//! Storage of a file given back while the file keeps its length.

use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;

/// Makes a range of a file, or of a block device, a hole: it reads as zeros and takes no storage.
/// May block as long as a write.
///
/// # Errors
/// The system's error, for example if the file system or the device does not support holes. Then
/// the range is unchanged.
pub fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, offset, len)?)
}
