//! Files below one folder, whatever their names contain.
//!
//! The kernel resolves a name below the folder's descriptor (`openat2` with `RESOLVE_BENEATH`). So
//! neither `..` nor a symbolic link leads out of it, not even a link that is made during the
//! look-up.

use crate::file_lock::lock_file;
use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, ResolveFlags, linkat, openat, openat2,
    renameat_with, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The number of immediate look-ups of a name. A look-up fails if a file is renamed meanwhile.
const LOOKS: u32 = 100;

/// The number of further tries to open a file with a lease, each after [`PAUSE`]. The first try
/// asks the holder to give the lease up; file servers do so within milliseconds.
const PATIENCE: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A folder whose files may be named by a user who is trusted with these files only.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: OwnedFd,
}

impl Folder {
    /// Opens the folder at `path`. It may be renamed afterwards. Removes drafts that killed
    /// processes left in it.
    ///
    /// # Errors
    /// The system's error if there is no such folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty())?;
        sweep(&folder);
        Ok(Self { path, folder })
    }

    /// Returns the path of the folder when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file for reading. `name` is relative to the folder, or an absolute path below it.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if the name leads out of the folder,
    /// [`io::ErrorKind::InvalidInput`] if it names no file, [`io::ErrorKind::ResourceBusy`] if
    /// another process does not give up its lease on the file within 1 second; or the system's
    /// error.
    pub fn read(&self, name: &Path) -> io::Result<File> {
        // Without NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(self.beneath(self.inside(name)?, flags)?);
        if !file.metadata()?.is_file() {
            let text = "not a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(file)
    }

    /// Makes a file for its owner only, with the contents that `write` writes. The file gets its
    /// name, and replaces a file of that name, only after all of it is written. After an error the
    /// name still leads to the old file. A process that is killed meanwhile may leave a draft. The
    /// next process that opens the folder or makes a file in it removes the draft.
    ///
    /// # Errors
    /// The errors of [`read`](Self::read) and of `write`.
    pub fn replace<E: From<io::Error>>(
        &self,
        name: &Path,
        write: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        self.make(name, RenameFlags::empty(), write)
    }

    /// Makes a file like [`replace`](Self::replace), but never replaces one. If several processes
    /// make it at once, one succeeds.
    ///
    /// # Errors
    /// The errors of [`replace`](Self::replace); [`io::ErrorKind::AlreadyExists`] if the name is
    /// taken when all is written.
    pub fn create<E: From<io::Error>>(
        &self,
        name: &Path,
        write: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        self.make(name, RenameFlags::NOREPLACE, write)
    }

    fn make<E: From<io::Error>>(
        &self,
        name: &Path,
        flags: RenameFlags,
        write: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = self.inside(name)?;
        let (Some(parent), Some(last)) = (name.parent(), name.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
        };
        let parent = match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        };
        let parent = self.beneath(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        sweep(&parent);
        let draft = Draft::new(&parent)?;
        write(&draft.file)?;
        draft.publish(last, flags)?;
        Ok(())
    }

    /// Returns a name relative to the folder.
    fn inside<'a>(&self, name: &'a Path) -> io::Result<&'a Path> {
        match name.is_absolute() {
            true => name.strip_prefix(&self.path).map_err(|_| leads_out()),
            false => Ok(name),
        }
    }

    fn beneath(&self, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        for tries in 0..LOOKS + PATIENCE {
            match openat2(&self.folder, name, flags, Mode::empty(), resolve) {
                // A file was renamed meanwhile, so that the kernel must look again; or another
                // process has a lease on the file.
                Err(Errno::AGAIN) if tries < LOOKS => {}
                Err(Errno::AGAIN) => std::thread::sleep(PAUSE),
                Err(Errno::XDEV) => return Err(leads_out()),
                opened => return Ok(opened?),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process has a lease on the file, and does not give it up; try again later",
        ))
    }
}

fn leads_out() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the name leads out of the folder",
    )
}

/// The start of a draft's name; the number of the process and the time follow.
const DRAFT: &str = ".zs-draft-";

/// Says whether a name is that of a draft.
fn is_draft(name: &[u8]) -> bool {
    let rest = name.strip_prefix(DRAFT.as_bytes());
    rest.is_some_and(|rest| {
        let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
        !rest.is_empty() && rest.iter().all(is_part)
    })
}

/// Removes drafts that no process has locked: their process is gone.
fn sweep(parent: &OwnedFd) {
    let Ok(entries) = Dir::read_from(parent) else {
        // Then drafts stay, which does no harm.
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !is_draft(name.to_bytes()) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(parent, name, flags, Mode::empty()) else {
            continue;
        };
        let file = File::from(file);
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        if is_file && lock_file(&file).is_ok_and(|alone| alone) {
            // Another process may have removed it already.
            let _ = unlinkat(parent, name, AtFlags::empty());
        }
    }
}

/// A file that is being written. It has no name if the file system supports such files, so that a
/// killed process leaves nothing. Otherwise it has a temporary name, which is removed unless the
/// draft is published. The file is locked meanwhile.
struct Draft<'a> {
    parent: &'a OwnedFd,
    /// Empty if the file has no name.
    name: String,
    file: File,
}

/// Returns the path from which a file without a name can be linked.
fn link_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

impl<'a> Draft<'a> {
    fn new(parent: &'a OwnedFd) -> io::Result<Self> {
        if let Some(draft) = Self::unnamed(parent) {
            return Ok(draft);
        }
        loop {
            let draft = Self::named(parent)?;
            // Where files cannot be locked, drafts are not swept either. But a sweeper may have
            // taken this draft for an old one, and locked or removed it before it was locked here.
            let is_ours = lock_file(&draft.file).unwrap_or(true);
            if is_ours && draft.file.metadata()?.nlink() > 0 {
                return Ok(draft);
            }
        }
    }

    /// Makes a draft without a name. Returns `None` if the file system has no such files, or if it
    /// could not get a name later.
    fn unnamed(parent: &'a OwnedFd) -> Option<Self> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = openat(parent, ".", flags, Mode::RUSR | Mode::WUSR).ok()?;
        let file = File::from(file);
        // Locked, so that it is not swept once it has a name.
        let is_ours = lock_file(&file).is_ok_and(|alone| alone);
        let has_link = Path::new(&link_of(&file)).exists();
        (is_ours && has_link).then_some(Self {
            parent,
            name: String::new(),
            file,
        })
    }

    fn fresh_name() -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_nanos());
        format!("{DRAFT}{}-{now}", std::process::id())
    }

    fn named(parent: &'a OwnedFd) -> io::Result<Self> {
        let name = Self::fresh_name();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            parent,
            name,
            file: file.into(),
        })
    }

    fn publish(mut self, name: &OsStr, flags: RenameFlags) -> io::Result<()> {
        // A full disk may report its error only now.
        self.file.sync_all()?;
        if self.name.is_empty() {
            // A temporary name, because a link never replaces a file. The rename follows.
            let fresh = Self::fresh_name();
            let (from, flags) = (link_of(&self.file), AtFlags::SYMLINK_FOLLOW);
            linkat(CWD, &from, self.parent, &fresh, flags)?;
            self.name = fresh;
        }
        match renameat_with(self.parent, &self.name, self.parent, name, flags) {
            Ok(()) => self.name.clear(),
            // The file system does not support the flag. A link never replaces a file either.
            // Dropping the draft removes its own name.
            Err(Errno::INVAL) if !flags.is_empty() => {
                linkat(self.parent, &self.name, self.parent, name, AtFlags::empty())?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(rustix::fs::fsync(self.parent)?)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // The caller gets the error that came before this.
            let _ = unlinkat(self.parent, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests;
