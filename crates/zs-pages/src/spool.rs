//! A file without a name that pages are appended to.

use crate::error::Error;
use crate::page_file::PageFile;
use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use zs_mm::PageSize;

/// On disk where there is one, unless `$TMPDIR` is all for it.
const ON_DISK: &str = "/var/tmp";

/// Where pages are collected: `$TMPDIR`, or `/tmp`; where that lies in memory, which the pages would fill, `/var/tmp`.
fn folder() -> PathBuf {
    let usual = env::temp_dir();
    let on_disk = Path::new(ON_DISK);
    let is_asked_for = env::var_os("TMPDIR").is_some_and(|folder| !folder.is_empty());
    if !is_asked_for && lies_in_memory(&usual) && !lies_in_memory(on_disk) {
        return on_disk.to_owned();
    }
    usual
}

/// Whether the files of a folder are memory; no if it cannot be looked at.
fn lies_in_memory(folder: &Path) -> bool {
    /// `statfs(2)`.
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_type as u64 == TMPFS_MAGIC)
}

/// Whole pages on their way into a [`PageFile`].
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    folder: PathBuf,
    page: PageSize,
    len: u64,
}

impl Spool {
    /// A spool in [`folder`].
    pub(crate) fn new(page: PageSize) -> Result<Self, Error> {
        Self::in_folder(page, &folder())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_memory_is_told_from_one_on_disk() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let memory = mounts.lines().find_map(|line| {
            let (folder, rest) = line.split_once(' ')?.1.split_once(' ')?;
            // Something else may have been mounted over it, or its name be escaped.
            let is_plain =
                !folder.contains('\\') && mounts.matches(&format!(" {folder} ")).count() == 1;
            (rest.starts_with("tmpfs ") && is_plain).then_some(folder)
        });
        match memory {
            Some(folder) => assert!(lies_in_memory(Path::new(folder)), "{folder}"),
            None => println!("skipped in part: no tmpfs is mounted here"),
        }
        assert!(!lies_in_memory(Path::new("/proc")));
        assert!(!lies_in_memory(Path::new("/nonexistent")));
    }
}
