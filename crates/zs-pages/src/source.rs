//! One source file: opened with checks, unpacked if it is a `.zst` file, its holes skipped.

use crate::error::Error;
use crate::holes::{FilePart, part_at};
use rustix::fs::OFlags;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use zs_mm::PageSize;

/// A reader of the bytes of a file, from start to end.
pub(crate) enum Reader {
    Plain {
        file: File,
        /// The offset of the next byte to read.
        at: u64,
        /// The end of the current part with data.
        data_end: u64,
    },
    Zstd(Box<zstd::Decoder<'static, io::BufReader<File>>>),
}

/// The next item that a reader found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// This many bytes, now in the buffer. If it is no whole number of pages, the file ends here.
    Read(usize),
    /// This many zeros that were not read. If it is no whole number of pages, the file ends here.
    Hole(u64),
    /// The file has ended.
    End,
}

impl Reader {
    /// Opens a regular file. If its name ends in `.zst`, it is unpacked while it is read.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let refused = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        // Opening a device may have effects, so the kind of file is checked first.
        check_kind(path, fs::metadata(path).map_err(refused)?.file_type())?;
        // If a FIFO has replaced the file meanwhile, it must not block the open.
        let no_wait = OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(no_wait).open(path);
        let file = file.map_err(refused)?;
        check_kind(path, file.metadata().map_err(refused)?.file_type())?;
        if !is_zstd(path) {
            return Ok(Self::Plain {
                file,
                at: 0,
                data_end: 0,
            });
        }
        let decoder = zstd::Decoder::new(file).map_err(refused)?;
        Ok(Self::Zstd(Box::new(decoder)))
    }

    /// Says whether the bytes are unpacked while they are read.
    pub(crate) fn unpacks(&self) -> bool {
        matches!(self, Self::Zstd(_))
    }

    /// Skips a hole, or fills the buffer, which must hold whole pages, until the data ends.
    pub(crate) fn step(
        &mut self,
        path: &Path,
        page: PageSize,
        buffer: &mut [u8],
    ) -> Result<Step, Error> {
        let stepped = match self {
            Self::Plain { file, at, data_end } => step_plain(file, at, data_end, page, buffer),
            Self::Zstd(decoder) => fill(buffer, |rest, _| decoder.read(rest)).map(Step::of),
        };
        stepped.map_err(|source| self.failed(path, source))
    }

    fn failed(&self, path: &Path, source: io::Error) -> Error {
        let path = path.to_owned();
        // An error without a system error number comes from the decoder.
        if self.unpacks() && source.raw_os_error().is_none() {
            Error::Unpack { path, source }
        } else {
            Error::Read { path, source }
        }
    }
}

impl Step {
    fn of(filled: usize) -> Self {
        match filled {
            0 => Self::End,
            filled => Self::Read(filled),
        }
    }
}

fn step_plain(
    file: &File,
    at: &mut u64,
    data_end: &mut u64,
    page: PageSize,
    buffer: &mut [u8],
) -> io::Result<Step> {
    let start = *at;
    if start >= *data_end {
        match part_at(file, start, page)? {
            FilePart::Hole(end) => {
                *at = end;
                return Ok(Step::Hole(end - start));
            }
            FilePart::Data(end) => *data_end = end,
        }
    }
    let data = usize::try_from(*data_end - start).unwrap_or(usize::MAX);
    let len = buffer.len().min(data);
    let filled = fill(&mut buffer[..len], |rest, filled| {
        file.read_at(rest, start + filled as u64)
    })?;
    *at += filled as u64;
    Ok(Step::of(filled))
}

/// Fills the buffer by calls of `read`, which gets the number of bytes filled so far. Returns less
/// than the buffer only at the end of the file.
fn fill(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], usize) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&mut buffer[filled..], filled) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn is_zstd(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

fn check_kind(path: &Path, found: FileType) -> Result<(), Error> {
    if found.is_file() {
        return Ok(());
    }
    let kinds = [
        (found.is_dir(), "a directory"),
        (found.is_fifo(), "a pipe"),
        (found.is_char_device(), "a character device"),
        (found.is_block_device(), "a block device"),
        (found.is_socket(), "a socket"),
    ];
    let known = kinds.into_iter().find(|&(is, _)| is);
    Err(Error::NotRegular {
        path: path.to_owned(),
        kind: known.map_or("no file", |(_, kind)| kind),
    })
}
