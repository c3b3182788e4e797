//! A file without a name that pages are appended to.

use crate::error::{Error, Refusals};
use crate::page_file::PageFile;
use crate::process::check_proc_is_mounted;
use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use zs_mm::PageSize;

/// A folder for temporary files that lies on disk.
const ON_DISK: &str = "/var/tmp";

/// Says whether the files of a folder lie in memory. Returns false if the system does not tell.
fn lies_in_memory(folder: &Path) -> bool {
    /// `statfs(2)`.
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_type as u64 == TMPFS_MAGIC)
}

/// Returns the folders to try, in this order, if `$TMPDIR` is not set.
fn by_default(usual: PathBuf) -> Vec<PathBuf> {
    let on_disk = PathBuf::from(ON_DISK);
    if lies_in_memory(&usual) && !lies_in_memory(&on_disk) {
        vec![on_disk, usual]
    } else {
        vec![usual, on_disk]
    }
}

/// Whole pages on their way into a [`PageFile`].
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    folder: PathBuf,
    page: PageSize,
    len: u64,
    /// The end of the data in the file. Data that was taken back may still lie below it.
    data_end: u64,
}

impl Spool {
    /// Makes a spool in the system's folder for temporary files: `$TMPDIR`; without that `/tmp` or
    /// `/var/tmp`. Of these two, a folder on disk is tried first, because the pages would fill the
    /// memory.
    pub(crate) fn new(page: PageSize) -> Result<Self, Error> {
        let asked = env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
        let folders = match asked {
            Some(folder) => vec![PathBuf::from(folder)],
            None => by_default(env::temp_dir()),
        };
        let mut tried = Vec::new();
        for folder in folders {
            match Self::in_folder(page, &folder) {
                Err(Error::Create(Refusals(mut causes))) => tried.append(&mut causes),
                spool => return spool,
            }
        }
        Err(Error::Create(Refusals(tried)))
    }

    pub(crate) fn in_folder(page: PageSize, folder: &Path) -> Result<Self, Error> {
        // `finish` needs `/proc`.
        check_proc_is_mounted()?;
        let file =
            tempfile::tempfile_in(folder).map_err(|source| Error::no_folder(folder, source))?;
        Ok(Self {
            file,
            folder: folder.to_owned(),
            page,
            len: 0,
            data_end: 0,
        })
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page
    }

    /// Returns the bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends whole pages of `source`. An error names the source.
    pub(crate) fn append(&mut self, pages: &[u8], source: &Path) -> Result<(), Error> {
        debug_assert!(pages.len().is_multiple_of(self.page.bytes()));
        let written = self.file.write_all_at(pages, self.len);
        written.map_err(|error| Error::write(source, &self.folder, error))?;
        self.len += pages.len() as u64;
        self.data_end = self.data_end.max(self.len);
        Ok(())
    }

    /// Appends a hole of whole pages of `source`, which takes no space on the disk.
    pub(crate) fn append_hole(&mut self, bytes: u64, source: &Path) -> Result<(), Error> {
        debug_assert!(bytes.is_multiple_of(self.page.bytes() as u64));
        let end = self.len + bytes;
        let resize = |len| self.file.set_len(len);
        // Data that was taken back must not show in the hole.
        let cut = if self.data_end > self.len {
            resize(self.len)
        } else {
            Ok(())
        };
        let grown = cut.and_then(|()| resize(end));
        grown.map_err(|error| Error::write(source, &self.folder, error))?;
        self.data_end = self.data_end.min(self.len);
        self.len = end;
        Ok(())
    }

    /// Takes back what was appended after the spool had `len` bytes.
    pub(crate) fn rewind(&mut self, len: u64) {
        debug_assert!(len <= self.len);
        self.len = len;
    }

    /// Ends the writing. Afterwards the file can only be read.
    pub(crate) fn finish(self) -> Result<PageFile, Error> {
        let in_folder = |source: io::Error| Error::Write {
            folder: self.folder.clone(),
            source,
        };
        // Data that was taken back is still in the file.
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
            // Another file system may be mounted over it, or its name may be escaped.
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
