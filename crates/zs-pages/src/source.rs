//! One file: opened with checks, unpacked if it is a `.zst`.

use crate::error::Error;
use rustix::fs::OFlags;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The bytes of a file.
pub(crate) enum Reader {
    Plain(File),
    Zstd(Box<zstd::Decoder<'static, io::BufReader<File>>>),
}

impl Reader {
    /// Opens a regular file; one whose name ends in `.zst` is unpacked while it is read.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let refused = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        // Opening a device may do something to it, so its kind is looked at before.
        check_kind(path, fs::metadata(path).map_err(refused)?.file_type())?;
        // A FIFO that took the file's place meanwhile must not block the open.
        let no_wait = OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(no_wait).open(path);
        let file = file.map_err(refused)?;
        check_kind(path, file.metadata().map_err(refused)?.file_type())?;
        if !is_zstd(path) {
            return Ok(Self::Plain(file));
        }
        let decoder = zstd::Decoder::new(file).map_err(refused)?;
        Ok(Self::Zstd(Box::new(decoder)))
    }

    /// Whether the bytes are unpacked on the way.
    pub(crate) fn unpacks(&self) -> bool {
        matches!(self, Self::Zstd(_))
    }

    /// Fills the buffer as far as the file goes; less than all of it only at the file's end.
    pub(crate) fn fill(&mut self, path: &Path, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            let place = &mut buffer[filled..];
            let got = match self {
                Self::Plain(file) => file.read(place),
                Self::Zstd(decoder) => decoder.read(place),
            };
            match got {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(source) => return Err(self.failed(path, source)),
            }
        }
        Ok(filled)
    }

    fn failed(&self, path: &Path, source: io::Error) -> Error {
        let path = path.to_owned();
        // What the decoder itself finds wrong is no error of the system.
        if self.unpacks() && source.raw_os_error().is_none() {
            Error::Unpack { path, source }
        } else {
            Error::Read { path, source }
        }
    }
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
