//! The file with the process number.

use crate::failure::{Failure, failed};
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zs_os::Folder;

/// A file with the number of this process. It is removed when this is dropped, unless another
/// server has it by then.
pub(super) struct PidFile {
    path: PathBuf,
    number: String,
    /// Device and inode of the file that was made.
    identity: (u64, u64),
}

impl PidFile {
    /// Makes the file, or puts a new one in the place of an old one. No link is followed, and
    /// nothing is replaced but a file with a process number, or an empty one.
    pub(super) fn write(path: &Path) -> Result<Self, Failure> {
        let made = Self::make(path);
        made.map_err(|error| failed(format!("--pidfile {}: {error}", path.display())))
    }

    fn make(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        if !may_be_replaced(&path)? {
            let text = "what is there holds no process number, and stays as it is: name another file, or remove it";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let number = format!("{}\n", std::process::id());
        let mut identity = (0, 0);
        let write = |mut file: &File| {
            file.write_all(number.as_bytes())?;
            // Anybody may know the number.
            file.set_permissions(Permissions::from_mode(0o644))?;
            let made = file.metadata()?;
            identity = (made.dev(), made.ino());
            Ok::<(), io::Error>(())
        };
        Folder::open(parent)?.replace(Path::new(name), write)?;
        Ok(Self {
            path,
            number,
            identity,
        })
    }

    fn is_ours(&self) -> bool {
        let identity = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        identity.is_ok_and(|found| found == self.identity)
            && fs::read_to_string(&self.path).is_ok_and(|text| text == self.number)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // Whoever removed it was quicker.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The longest content of a file that may be replaced: a number, and an end of line.
const MOST_BYTES: u64 = 24;

/// Says whether nothing is at a path, or a file as servers leave it that were killed: with a
/// number, or empty.
fn may_be_replaced(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(found) if !found.is_file() || found.len() > MOST_BYTES => Ok(false),
        Ok(_) => {
            let content = fs::read(path)?;
            Ok(content.trim_ascii().iter().all(u8::is_ascii_digit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// `misc.py pidfile`.
    #[test]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        assert!(PidFile::write(&link).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert!(link.is_symlink());
        assert!(PidFile::write(folder.path()).is_err());
    }

    /// A slip of the hand must not cost a disk.
    #[test]
    fn a_file_without_a_process_number_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.zs");
        for content in ["precious", "12 monkeys", "1234567890123456789012345"] {
            fs::write(&path, content).unwrap();
            assert!(PidFile::write(&path).is_err(), "{content}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        for content in ["", "77\n", "77"] {
            fs::write(&path, content).unwrap();
            assert!(PidFile::write(&path).is_ok(), "{content}");
        }
    }

    #[test]
    fn the_file_of_another_server_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let first = PidFile::write(&path).unwrap();
        let second = PidFile::write(&path).unwrap();
        drop(first);
        let text = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        // Another server that writes over it.
        fs::write(&path, "1\n").unwrap();
        drop(second);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        drop(PidFile::write(&path).unwrap());
        assert!(!path.exists());
    }
}
