//! The parts of a file with data, and its holes: zeros that take no space on the disk.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use zs_mm::PageSize;

/// A part of a file, as whole pages. Holds the offset of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilePart {
    /// Zeros that need not be read. Ends at a page boundary, or at the end of the file.
    Hole(u64),
    /// Bytes to read. Ends at a page boundary, or is `u64::MAX` if the file system does not tell.
    Data(u64),
}

/// Returns the part that begins at `at`, which must be a page boundary. Moves the position of the
/// file.
///
/// # Errors
/// The system's error if the length of the file cannot be read.
pub(crate) fn part_at(file: &File, at: u64, page: PageSize) -> io::Result<FilePart> {
    let page = page.bytes() as u64;
    let data = match seek(file, SeekFrom::Data(at)) {
        Ok(data) => data,
        Err(Errno::NXIO) => {
            let len = file.metadata()?.len();
            // Some files of /proc have a length of 0 but contain bytes.
            return Ok(if at < len {
                FilePart::Hole(len)
            } else {
                FilePart::Data(u64::MAX)
            });
        }
        // The file system does not support holes.
        Err(_) => return Ok(FilePart::Data(u64::MAX)),
    };
    let hole_end = data - data % page;
    if hole_end > at {
        return Ok(FilePart::Hole(hole_end));
    }
    let hole = seek(file, SeekFrom::Hole(data)).unwrap_or(u64::MAX);
    Ok(FilePart::Data(
        hole.checked_next_multiple_of(page).unwrap_or(u64::MAX),
    ))
}
