//! The file that a disk's blocks are written back to.

use std::path::PathBuf;
use zram::{BackingFile, Error};

/// The file that a disk's blocks are written back to.
#[derive(Debug)]
pub(super) enum Backing {
    Temporary { folder: PathBuf, size: u64 },
    File(BackingFile),
}

impl Backing {
    /// Returns a new file, or the one that there is.
    pub(super) fn file(&self) -> Result<BackingFile, Error> {
        match self {
            Self::Temporary { folder, size } => BackingFile::temporary(folder, *size),
            Self::File(file) => Ok(file.clone()),
        }
    }
}
