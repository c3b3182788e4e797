//! A file that contents are saved to, which replaces no other than the one that is known.
//!
//! What is left of a race: between the last look at the known file and the rename that replaces it
//! there is a moment. A file that somebody puts there within it is lost; the system has no rename
//! that compares. Where no file is known, there is no such moment: the rename itself refuses.

use std::cell::Cell;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zs_os::Folder;

/// Why a file was not made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    OnlyTried,
    Failed(String),
}

impl Refusal {
    /// The file is somebody else's by now.
    pub(super) fn foreign() -> Self {
        Self::Failed(FOREIGN.to_owned())
    }
}

/// The text about a file that is not the known one.
pub(super) const FOREIGN: &str =
    "somebody made or changed this file since the server began: move it away";

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::foreign(),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The marks by which a file is known, and by which a change of it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    file: (u64, u64),
    changed: (i64, i64),
}

impl From<&Metadata> for Identity {
    fn from(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

impl Identity {
    /// Returns that of a file that may not be there.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(found) => Ok(Some(Self::from(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A path, and the file that may be replaced there.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    known: Cell<Option<Identity>>,
}

impl Target {
    /// Describes a file that is to be made, or to replace the `known` one.
    pub(super) fn new(path: &Path, known: Option<Identity>) -> Self {
        Self {
            path: path.to_owned(),
            known: Cell::new(known),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says whether there was a file to be replaced.
    pub(super) fn was_there(&self) -> bool {
        self.known.get().is_some()
    }

    /// Makes the file, for its owner only, when all of it is on the disk.
    pub(super) fn write(
        &self,
        write: impl FnOnce(&File) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.write_and(write, |made| made)
    }

    /// Makes the file; `outcome` has the last word on whether that went well. After a failure the
    /// file that is there may be ours: its folder could not be made safe. Then it is known from
    /// now on, so that another try replaces it.
    fn write_and(
        &self,
        write: impl FnOnce(&File) -> Result<(), Refusal>,
        outcome: impl FnOnce(Result<(), Refusal>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut own = None;
        let made = self.replace(|file| {
            write(file)?;
            // As long as it is open, no other file has its number.
            own = Some(file.try_clone()?);
            Ok(())
        });
        let made = outcome(made);
        if made.is_err()
            && let Some(own) = own
            && let (Ok(own), Ok(Some(found))) = (own.metadata(), Identity::of(&self.path))
            && Identity::from(&own).file == found.file
        {
            self.known.set(Some(found));
        }
        made
    }

    fn replace(&self, write: impl FnOnce(&File) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let path = &self.path;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Refusal::Failed("expected the name of a file".to_owned()));
        };
        let folder = Folder::open(parent)?;
        let name = Path::new(name);
        let known = self.known.get();
        match Identity::of(path)? {
            None => folder.create(name, write),
            found if found == known => folder.replace(name, |file| {
                write(file)?;
                match Identity::of(path)? == known {
                    true => Ok(()),
                    false => Err(Refusal::foreign()),
                }
            }),
            Some(_) => Err(Refusal::foreign()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn text(text: &str) -> impl FnOnce(&File) -> Result<(), Refusal> {
        move |mut file| Ok(file.write_all(text.as_bytes())?)
    }

    /// The file is in its place, and the folder's sync fails: that is told, and the next try is not
    /// told that somebody else made the file.
    #[test]
    fn our_own_file_is_replaced_by_another_try() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let target = Target::new(&path, None);
        for round in ["1", "2"] {
            let failed = target.write_and(text(round), |made| {
                made?;
                Err(Refusal::Failed("input or output failed".to_owned()))
            });
            assert_eq!(
                failed,
                Err(Refusal::Failed("input or output failed".to_owned()))
            );
            assert_eq!(fs::read(&path).unwrap(), round.as_bytes());
        }
        assert_eq!(target.write(text("3")), Ok(()));
        assert_eq!(fs::read(&path).unwrap(), b"3");
    }

    /// Also after a try of ours that has left nothing there.
    #[test]
    fn a_file_of_somebody_else_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let target = Target::new(&path, None);
        let full = |_: &File| Err(Refusal::Failed("full".to_owned()));
        assert!(target.write(full).is_err());
        fs::write(&path, "foreign").unwrap();
        assert_eq!(target.write(text("ours")), Err(Refusal::foreign()));
        let raced = Target::new(&folder.path().join("other"), None);
        let made = raced.write(|_| {
            fs::write(raced.path(), "foreign")?;
            Ok(())
        });
        assert_eq!(made, Err(Refusal::foreign()));
        assert_eq!(raced.write(text("ours")), Err(Refusal::foreign()));
        for path in [&path, raced.path()] {
            assert_eq!(fs::read(path).unwrap(), b"foreign");
        }
    }
}
