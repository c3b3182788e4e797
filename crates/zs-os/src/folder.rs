//! Files below one folder, whatever their names say.
//!
//! A name is resolved by the kernel below the folder's descriptor (`openat2` with `RESOLVE_BENEATH`), so neither `..` nor a symbolic
//! link leads out, not even one that is made while the name is looked up.

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat, openat2, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A folder below which files are named by somebody who is trusted with these files only.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: OwnedFd,
}

impl Folder {
    /// The folder at `path`, which may be renamed from then on.
    ///
    /// # Errors
    /// The system's, if there is no such folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { path, folder })
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file for reading. `name` is relative to the folder, or absolute and begins with its path.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if the name leads out of the folder, [`io::ErrorKind::InvalidInput`] if it is of something
    /// else than a file; or the system's.
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

    /// Makes a file, for its owner only, or replaces what has this name: by what `write` writes, and only once all of it is
    /// written. After an error the name leads to what it did before.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and those of `write`.
    pub fn replace<E: From<io::Error>>(
        &self,
        name: &Path,
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
        let draft = Draft::new(&parent)?;
        write(&draft.file)?;
        draft.publish(last)?;
        Ok(())
    }

    /// The part of a name that is below the folder.
    fn inside<'a>(&self, name: &'a Path) -> io::Result<&'a Path> {
        match name.is_absolute() {
            true => name.strip_prefix(&self.path).map_err(|_| leads_out()),
            false => Ok(name),
        }
    }

    fn beneath(&self, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            let flags = flags | OFlags::CLOEXEC;
            match openat2(&self.folder, name, flags, Mode::empty(), resolve) {
                // Something was renamed meanwhile, so that the kernel is not sure.
                Err(Errno::AGAIN) => {}
                Err(Errno::XDEV) => return Err(leads_out()),
                opened => return Ok(opened?),
            }
        }
    }
}

fn leads_out() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the name leads out of the folder",
    )
}

/// A file under a name that nobody knows, removed unless it is published.
struct Draft<'a> {
    parent: &'a OwnedFd,
    name: String,
    file: File,
}

impl<'a> Draft<'a> {
    fn new(parent: &'a OwnedFd) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_nanos());
        let name = format!(".zs-{}-{now}", std::process::id());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            parent,
            name,
            file: file.into(),
        })
    }

    fn publish(mut self, name: &OsStr) -> io::Result<()> {
        // A disk that is full may say so only now.
        self.file.sync_all()?;
        renameat(self.parent, &self.name, self.parent, name)?;
        self.name.clear();
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
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    #[test]
    fn names_stay_below_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("in");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("file"), "1").unwrap();
        fs::write(outer.path().join("secret"), "2").unwrap();
        symlink("/", root.join("out")).unwrap();
        symlink("sub", root.join("within")).unwrap();
        symlink("../secret", root.join("link")).unwrap();
        let folder = Folder::open(&root).unwrap();
        for name in ["file", "sub/../file", root.join("file").to_str().unwrap()] {
            assert!(folder.read(Path::new(name)).is_ok(), "{name}");
        }
        let replace =
            |name: &str| folder.replace(Path::new(name), |mut file| file.write_all(b"new"));
        for name in [
            "../secret",
            "out/etc/passwd",
            "/etc/passwd",
            "link",
            "sub",
            ".",
            "",
        ] {
            assert!(folder.read(Path::new(name)).is_err(), "{name}");
        }
        for name in ["../file", "out/tmp/file", "/tmp/file", "sub", "..", "", "/"] {
            assert!(replace(name).is_err(), "{name}");
        }
        // A link in the last place is replaced, not followed.
        for name in ["new", "within/new", "link"] {
            replace(name).unwrap();
            let mut text = String::new();
            folder
                .read(Path::new(name))
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "new", "{name}");
        }
        assert_eq!(fs::read(outer.path().join("secret")).unwrap(), b"2");
    }

    #[test]
    fn a_failed_file_leaves_the_old() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let name = Path::new("file");
        folder
            .replace(name, |mut file| file.write_all(b"old"))
            .unwrap();
        let failed = folder.replace(name, |mut file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(root.path().join(name)).unwrap(), b"old");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
