//! Files below one folder, whatever their names say.
//!
//! A name is resolved by the kernel below the folder's descriptor (`openat2` with
//! `RESOLVE_BENEATH`), so neither `..` nor a symbolic link leads out, not even one that is made
//! while the name is looked up.

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

/// How often a name is looked up again at once, since something was renamed meanwhile.
const LOOKS: u32 = 100;

/// How often, and after which pause, a file is opened again that somebody has a lease on. The first
/// try has asked for it, and file servers give theirs up within milliseconds.
const PATIENCE: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A folder below which files are named by somebody who is trusted with these files only.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: OwnedFd,
}

impl Folder {
    /// Returns the folder at `path`, which may be renamed from then on. Drafts in it are removed
    /// that a process left which was killed.
    ///
    /// # Errors
    /// The system's, if there is no such folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty())?;
        sweep(&folder);
        Ok(Self { path, folder })
    }

    /// Returns where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file for reading. `name` is relative to the folder, or absolute and begins with its
    /// path.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if the name leads out of the folder,
    /// [`io::ErrorKind::InvalidInput`] if it is of something else than a file,
    /// [`io::ErrorKind::ResourceBusy`] if somebody does not give up a lease on it within a second;
    /// or the system's.
    pub fn read(&self, name: &Path) -> io::Result<File> {
        // Without NONBLOCK, to open a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(self.beneath(self.inside(name)?, flags)?);
        if !file.metadata()?.is_file() {
            let text = "not a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(file)
    }

    /// Makes a file, for its owner only, or replaces what has this name: by what `write` writes,
    /// and only once all of it is written. After an error the name leads to what it did before.
    /// A process that is killed meanwhile leaves a draft, which the next one removes that opens
    /// the folder or makes a file beside it.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and those of `write`.
    pub fn replace<E: From<io::Error>>(
        &self,
        name: &Path,
        write: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        self.make(name, RenameFlags::empty(), write)
    }

    /// Makes a file like [`replace`](Self::replace), but replaces nothing: of several who make it
    /// at once, one does.
    ///
    /// # Errors
    /// As for [`replace`](Self::replace); [`io::ErrorKind::AlreadyExists`] if something has the
    /// name when all is written.
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

    /// Returns the part of a name that is below the folder.
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
                // Something was renamed meanwhile, so that the kernel is not sure; or somebody has
                // a lease on the file.
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

/// Says whether this is the name of a draft.
fn is_draft(name: &[u8]) -> bool {
    let rest = name.strip_prefix(DRAFT.as_bytes());
    rest.is_some_and(|rest| {
        let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
        !rest.is_empty() && rest.iter().all(is_part)
    })
}

/// Removes drafts whose process is gone: nobody has them locked.
fn sweep(parent: &OwnedFd) {
    let Ok(entries) = Dir::read_from(parent) else {
        // Then drafts stay, which are in nobody's way.
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
            // Somebody else may have removed it.
            let _ = unlinkat(parent, name, AtFlags::empty());
        }
    }
}

/// A file that is being written: without a name where the file system has such files, so that
/// nothing is left of it when the process is killed. Otherwise under a name that nobody knows,
/// removed unless it is published. It is locked meanwhile.
struct Draft<'a> {
    parent: &'a OwnedFd,
    /// Empty if it has none.
    name: String,
    file: File,
}

/// Returns where a file without a name can be linked from.
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
            // Where files cannot be locked, nobody sweeps either. But a sweeper may have locked it
            // before we did, or removed it: it took it for one that was left.
            let is_ours = lock_file(&draft.file).unwrap_or(true);
            if is_ours && draft.file.metadata()?.nlink() > 0 {
                return Ok(draft);
            }
        }
    }

    /// `None` where there are no such files, or they could not be given a name later.
    fn unnamed(parent: &'a OwnedFd) -> Option<Self> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = openat(parent, ".", flags, Mode::RUSR | Mode::WUSR).ok()?;
        let file = File::from(file);
        // Once it has a name, it is not to be swept.
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
        // A disk that is full may say so only now.
        self.file.sync_all()?;
        if self.name.is_empty() {
            // Only for a moment: a link never replaces what has the name.
            let fresh = Self::fresh_name();
            let (from, flags) = (link_of(&self.file), AtFlags::SYMLINK_FOLLOW);
            linkat(CWD, &from, self.parent, &fresh, flags)?;
            self.name = fresh;
        }
        match renameat_with(self.parent, &self.name, self.parent, name, flags) {
            Ok(()) => self.name.clear(),
            // A file system that knows no such flag: a link never replaces anything either. The
            // draft's own name goes with the draft.
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
            // Whoever asked for it is being told that something else failed.
            let _ = unlinkat(self.parent, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests;
