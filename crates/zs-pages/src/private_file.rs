//! A file for pages that are not everybody's business.

use crate::error::Error;
use crate::page_file::PageFile;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A new file that only its owner can read (mode 0600); removed again unless pages were written to it.
#[derive(Debug)]
pub struct PrivateFile {
    file: File,
    path: PathBuf,
    is_written: bool,
}

impl PrivateFile {
    /// Makes the file. Nothing may have that name yet: no file, pipe or device, and no link, wherever that leads
    /// (`O_EXCL`, `O_NOFOLLOW`).
    ///
    /// # Errors
    /// [`Error::Exists`], or [`Error::Output`] if the system refuses.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
            _ => Error::output(path, source),
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
            is_written: false,
        })
    }

    /// Writes all pages, and waits until the disk has them.
    ///
    /// # Errors
    /// [`Error::Output`], and the file is removed; or [`Error::Map`].
    pub fn write(mut self, pages: &PageFile) -> Result<(), Error> {
        let written = pages.write_to(&mut self.file)?;
        // A disk that is full may say so only now.
        let written = written.and_then(|()| self.file.sync_all());
        written.map_err(|source| Error::output(&self.path, source))?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.is_written {
            // Whoever made it is being told that something else failed.
            let _ = fs::remove_file(&self.path);
        }
    }
}
