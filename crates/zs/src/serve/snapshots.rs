//! Files that `zs ctl` names: snapshots and dictionaries, below the folder of --allow-dir.

use super::refused::Refused;
use crate::failure::{Failure, failed};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use zram::Store;
use zs_os::Folder;

/// The folder, if there is one.
pub(super) struct Files {
    folder: Option<Folder>,
    stopping: AtomicBool,
}

impl Files {
    pub(super) fn below(folder: Option<&Path>) -> Result<Self, Failure> {
        let open = |path: &Path| {
            let folder = Folder::open(path);
            folder.map_err(|error| failed(format!("--allow-dir {}: {error}", path.display())))
        };
        Ok(Self {
            folder: folder.map(open).transpose()?,
            stopping: AtomicBool::new(false),
        })
    }

    /// From now on, what is being written fails.
    pub(super) fn stop(&self) {
        // SeqCst: not often, and never in the way.
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Writes a store to a file; returns its length.
    pub(super) fn save(&self, store: &Store, path: &Path) -> Result<u64, Refused> {
        let mut len = 0;
        let saved = self.folder()?.replace(path, |file| {
            let stopping = &self.stopping;
            let mut to = BufWriter::with_capacity(1 << 20, Stoppable { file, stopping });
            store.snapshot(&mut to)?;
            to.flush()?;
            len = file.metadata()?.len();
            Ok::<(), Refused>(())
        });
        saved.map_err(|error| self.of(path, &error))?;
        Ok(len)
    }

    /// Makes a file of some bytes.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Refused> {
        let write = |mut file: &File| file.write_all(bytes);
        let written = self.folder()?.replace(path, write);
        written.map_err(|error| self.of(path, &Refused::from(error)))
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, path: &Path) -> Result<File, Refused> {
        let opened = self.folder()?.read(path);
        opened.map_err(|error| self.of(path, &Refused::from(error)))
    }

    fn folder(&self) -> Result<&Folder, Refused> {
        let without = "the server was started without --allow-dir, so no files can be named to it";
        self.folder
            .as_ref()
            .ok_or_else(|| Refused(without.to_owned()))
    }

    fn of(&self, path: &Path, error: &Refused) -> Refused {
        let allowed = self.folder.as_ref().map_or(Path::new(""), Folder::path);
        Refused(format!(
            "{}: {} (--allow-dir is {})",
            path.display(),
            error.0,
            allowed.display()
        ))
    }
}

/// Writes a store to a file that is being made.
pub(super) fn write_snapshot(store: &Store, file: &File) -> Result<(), Refused> {
    let mut to = BufWriter::with_capacity(1 << 20, file);
    store.snapshot(&mut to)?;
    Ok(to.flush()?)
}

/// A file that takes no more when the server ends.
struct Stoppable<'a> {
    file: &'a File,
    stopping: &'a AtomicBool,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(io::Error::other("the server ends"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
