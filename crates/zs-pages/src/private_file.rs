//! A new file for captured pages, which only its owner can read.

use crate::error::Error;
use crate::page_file::PageFile;
use rustix::fs::{Access, OFlags};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The path of a new file that only its owner can read (mode 0600).
#[derive(Debug)]
pub struct PrivateFile {
    path: PathBuf,
}

impl PrivateFile {
    /// Checks that a file can be made at `path`, but does not make it yet, so that no file is left
    /// if there is nothing to write.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name is taken: by a file, pipe, device, or a link to anything;
    /// [`Error::Output`] if there is no such folder, or it cannot be written to.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::output(path, source);
        match fs::symlink_metadata(path) {
            Ok(_) => return Err(Error::Exists(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(failed(error)),
        }
        let folder = match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => return Err(failed(io::ErrorKind::IsADirectory.into())),
        };
        let may_write = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK);
        may_write.map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Makes the file (`O_EXCL`, `O_NOFOLLOW`), writes all pages, and holes as holes, and syncs the
    /// file to the disk.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Output`] or [`Error::Map`]. After an error no new file is left.
    pub fn write(self, pages: &PageFile) -> Result<(), Error> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&self.path);
        let file = file.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(self.path.clone()),
            _ => Error::output(&self.path, source),
        })?;
        let written = pages.write_to(&file).and_then(|written| {
            // A full disk may report its error only now.
            let written = written.and_then(|()| file.sync_all());
            written.map_err(|source| Error::output(&self.path, source))
        });
        if written.is_err() {
            self.remove(&file);
        }
        written
    }

    /// Removes the file, unless its name belongs to another one by now.
    fn remove(&self, file: &File) {
        let is_same =
            |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        let both = file.metadata().and_then(|ours| {
            let named = fs::symlink_metadata(&self.path)?;
            Ok(is_same(&ours, &named))
        });
        if both.is_ok_and(|same| same) {
            // The caller gets the error that came before this.
            let _ = fs::remove_file(&self.path);
        }
    }
}
