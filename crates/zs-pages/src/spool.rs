//! A file without a name that pages are appended to.

use crate::error::Error;
use crate::page_file::PageFile;
use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use zs_mm::PageSize;

/// Whole pages on their way into a [`PageFile`].
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    folder: PathBuf,
    page: PageSize,
    len: u64,
}

impl Spool {
    /// A spool in the system's folder for temporary files: `$TMPDIR`, or `/tmp`.
    pub(crate) fn new(page: PageSize) -> Result<Self, Error> {
        Self::in_folder(page, &env::temp_dir())
    }

    pub(crate) fn in_folder(page: PageSize, folder: &Path) -> Result<Self, Error> {
        let file = tempfile::tempfile_in(folder).map_err(|source| Error::Create {
            folder: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            file,
            folder: folder.to_owned(),
            page,
            len: 0,
        })
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends whole pages of `source`, which is named if they cannot be written.
    pub(crate) fn append(&mut self, pages: &[u8], source: &Path) -> Result<(), Error> {
        debug_assert!(pages.len().is_multiple_of(self.page.bytes()));
        let written = self.file.write_all_at(pages, self.len);
        written.map_err(|error| Error::write(source, &self.folder, error))?;
        self.len += pages.len() as u64;
        Ok(())
    }

    /// Takes back what was appended after the spool had `len` bytes.
    pub(crate) fn rewind(&mut self, len: u64) {
        debug_assert!(len <= self.len);
        self.len = len;
    }

    /// Ends the writing: from here on the file is only read.
    pub(crate) fn finish(self) -> Result<PageFile, Error> {
        let in_folder = |source: io::Error| Error::Write {
            folder: self.folder.clone(),
            source,
        };
        // What was taken back is still there.
        self.file.set_len(self.len).map_err(in_folder)?;
        PageFile::seal(&self.file, self.page, in_folder)
    }
}
