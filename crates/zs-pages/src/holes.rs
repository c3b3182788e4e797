//! The parts of a file that hold data, and the holes: zeros that take no room on the disk.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use zs_mm::PageSize;

/// A part of a file, in whole pages, up to the byte that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Zeros that need not be read. It ends at a page, or at the end of the file.
    Hole(u64),
    /// Bytes to read. It ends at a page; `u64::MAX` where the file system does not tell.
    Data(u64),
}

/// Finds the part that begins at `at`, which is the start of a page. Moves the file's position.
///
/// # Errors
/// The file's length cannot be read.
pub(crate) fn part_at(file: &File, at: u64, page: PageSize) -> io::Result<Part> {
    let page = page.bytes() as u64;
    let data = match seek(file, SeekFrom::Data(at)) {
        Ok(data) => data,
        Err(Errno::NXIO) => {
            let len = file.metadata()?.len();
            // Some files of /proc have bytes, though their length is 0.
            return Ok(if at < len {
                Part::Hole(len)
            } else {
                Part::Data(u64::MAX)
            });
        }
        // A file system that knows no holes.
        Err(_) => return Ok(Part::Data(u64::MAX)),
    };
    let hole_end = data - data % page;
    if hole_end > at {
        return Ok(Part::Hole(hole_end));
    }
    let hole = seek(file, SeekFrom::Hole(data)).unwrap_or(u64::MAX);
    Ok(Part::Data(
        hole.checked_next_multiple_of(page).unwrap_or(u64::MAX),
    ))
}
