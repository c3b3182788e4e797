//! Errors on the way from a source to pages.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// The reason why a source could not be added, or the pages could not be used. Its text names the
/// file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source could not be opened.
    #[error("{path:?}: {source}")]
    Open {
        /// The source.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The source is no regular file: it may have no end, or no bytes of its own.
    #[error("{path:?} is {kind}: only regular files are read")]
    NotRegular {
        /// The source.
        path: PathBuf,
        /// Its kind, with an article: `a directory`.
        kind: &'static str,
    },
    /// The source could not be read to its end.
    #[error("{path:?}: read failed: {source}")]
    Read {
        /// The source.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A `.zst` file is cut short, damaged, or not in zstd format.
    #[error("{path:?} is not a whole, undamaged zstd file: {source}")]
    Unpack {
        /// The source.
        path: PathBuf,
        /// The decoder's error.
        source: io::Error,
    },
    /// No file for the pages could be made.
    #[error(
        "no file for the pages can be made: {0}; set TMPDIR to a folder that can be written to"
    )]
    Create(Refusals),
    /// The file for the pages cannot grow any more.
    #[error(
        "no room in {folder:?} for the pages of {path:?}: {source}; set TMPDIR to a folder on a disk with more room"
    )]
    NoRoom {
        /// The source that did not fit.
        path: PathBuf,
        /// The path of the file.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file for the pages could not be written or prepared.
    #[error("the file for the pages, in {folder:?}: {source}")]
    Write {
        /// The path of the file.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file that was handed over is no page file, for this reason.
    #[error("not a page file: {0}")]
    NotPages(&'static str),
    /// The processes could not be listed.
    #[error("/proc: {0}")]
    Proc(io::Error),
    /// Nothing is mounted at `/proc`.
    #[error(
        "/proc is not mounted, and zs reads there what takes how much memory: mount it (mount -t proc proc /proc)"
    )]
    NoProc,
    /// The file system mounted at `/proc` belongs to another pid namespace.
    #[error(
        "/proc is that of another pid namespace, so that processes cannot be found in it: mount one of this (unshare --mount-proc)"
    )]
    OtherProc,
    /// The system's page size is none that the frames of a pool can have.
    #[error("pages of {0} bytes, as this system has, are not known: only 4, 16 and 64 KiB")]
    PageSize(usize),
    /// A command could not be started.
    #[error("{command:?} cannot be started: {source}")]
    Start {
        /// Its name or path.
        command: OsString,
        /// The system's error.
        source: io::Error,
    },
    /// The file that pages should be written to exists already.
    #[error(
        "{0:?} exists: captured pages hold the memory of others, so they are written to a new file only; give a name that is free"
    )]
    Exists(PathBuf),
    /// A file for pages could not be made or written.
    #[error("{path:?} cannot be written: {source}")]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The page file could not be examined or mapped.
    #[error("the page file cannot be mapped: {0}")]
    Map(io::Error),
}

/// The folders in which no file could be made, each with the system's error.
#[derive(Debug)]
pub struct Refusals(pub Vec<(PathBuf, io::Error)>);

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (folder, source)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{folder:?}: {source}")?;
        }
        Ok(())
    }
}

impl Error {
    pub(crate) fn no_folder(folder: &Path, source: io::Error) -> Self {
        // The name of the file that could not be made is of no use, so it is left out.
        let source = source
            .raw_os_error()
            .or_else(|| {
                let inner = source.get_ref()?.source()?;
                inner.downcast_ref::<io::Error>()?.raw_os_error()
            })
            .map_or(source, io::Error::from_raw_os_error);
        Self::Create(Refusals(vec![(folder.to_owned(), source)]))
    }

    pub(crate) fn output(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Output { path, source }
    }

    /// Makes the error of a failed write of `path`'s bytes to the page file: [`Error::NoRoom`] or
    /// [`Error::Write`].
    pub(crate) fn write(path: &Path, folder: &Path, source: io::Error) -> Self {
        let folder = folder.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoRoom {
                path: path.to_owned(),
                folder,
                source,
            },
            _ => Self::Write { folder, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let written = |kind| {
            let (path, folder) = (Path::new("a.bin"), Path::new("/tmp/x"));
            Error::write(path, folder, io::Error::from(kind))
        };
        for kind in [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ] {
            let text = written(kind).to_string();
            assert!(text.starts_with("no room in \"/tmp/x\" for the pages of \"a.bin\""));
            assert!(text.contains("set TMPDIR"), "{text}");
        }
        let other = written(io::ErrorKind::Other);
        assert!(matches!(other, Error::Write { .. }), "{other}");
    }
}
