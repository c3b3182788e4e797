//! Where blocks are written back to.

use super::punching::Punching;
use crate::error::Error;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use zs_mm::wide;

/// A place for written-back blocks: bytes at offsets. Calls may come from several threads at once.
pub trait BlockFile: Send + Sync {
    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Returns once the storage itself has what was written: before that, a write may still be
    /// lost. A block's memory is given up only then.
    ///
    /// # Errors
    /// The system's, for any write since the last call: nothing that was written since then counts
    /// as written.
    fn sync(&self) -> io::Result<()>;

    /// Gives the storage of a range back that holds nothing any more: a multiple of 4 KiB, which
    /// may be written again later. It need not do anything, and does not by default.
    ///
    /// # Errors
    /// The system's; the range stays as it is then.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }
}

impl BlockFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        zs_os::punch_hole(self, offset, len)
    }
}

/// Returns what a file of the caller's own kind answers whose code panicked.
pub(crate) fn panicked<T>() -> io::Result<T> {
    Err(io::Error::other("the backing's own code panicked"))
}

/// A backing: its file, and how much of it may be used. A clone is the same file, for a store that
/// takes the place of another: two stores that write to one lose each other's blocks.
#[derive(Clone)]
pub struct BackingFile {
    pub(crate) file: Arc<dyn BlockFile>,
    pub(crate) capacity: u64,
    pub(crate) punching: Arc<Punching>,
}

impl std::fmt::Debug for BackingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackingFile")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl BackingFile {
    /// Makes a file of the caller's own kind.
    pub fn new(file: impl BlockFile + 'static, capacity: u64) -> Self {
        Self {
            file: Arc::new(file),
            capacity,
            punching: Arc::default(),
        }
    }

    /// Makes a file without a name in `folder` (`O_TMPFILE` where there is that), which goes with
    /// the store, and grows up to `capacity` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made.
    pub fn temporary(folder: &Path, capacity: u64) -> Result<Self, Error> {
        let file = tempfile::tempfile_in(folder).map_err(Error::io("making the backing file"))?;
        Ok(Self::new(file, capacity))
    }

    /// Opens a block device, or a file that exists: as long as it is now. As long as it is used it
    /// is locked (`flock`), a device claimed, too (`O_EXCL`); its contents are overwritten.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened for reading and writing; [`Error::Invalid`] if it is
    /// empty, or neither of both; [`Error::Busy`] if somebody else has locked it, or it is a
    /// device that is mounted or claimed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_unless(path, &[])
    }

    /// Opens a file or device like [`open`](Self::open), but refuses these: those by which the
    /// store itself is used, say.
    ///
    /// # Errors
    /// As for [`open`](Self::open); [`Error::Invalid`] for one of these.
    pub fn open_unless(path: &Path, refused: &[FileId]) -> Result<Self, Error> {
        let check = |metadata: io::Result<Metadata>| {
            check_kind(
                path,
                &metadata.map_err(Error::io("opening the backing"))?,
                refused,
            )
        };
        // Looked at before it is opened, which may do something: a device may be the store itself.
        check(std::fs::metadata(path))?;
        let file = zs_os::open_claimed(path).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                Error::Busy("the backing is a device that is mounted, or that somebody has claimed")
            }
            _ => Error::io("opening the backing")(error),
        })?;
        check(file.metadata())?;
        // Of a device only its end tells the length.
        let capacity = io::Seek::seek(&mut &file, io::SeekFrom::End(0))
            .map_err(Error::io("looking at the backing's length"))?;
        if capacity == 0 {
            return Err(Error::Invalid(format!(
                "{} is empty: its length is what may be used of it",
                path.display()
            )));
        }
        if !zs_os::lock_file(&file).map_err(Error::io("locking the backing"))? {
            return Err(Error::Busy("somebody else uses the backing"));
        }
        Ok(Self::new(file, capacity))
    }

    /// Takes no more of this backing than so many bytes.
    #[must_use]
    pub fn limited_to(mut self, bytes: u64) -> Self {
        self.capacity = self.capacity.min(bytes);
        self
    }
}

/// The system's name of a file or device, whatever its path.
#[derive(Debug, Clone, Copy)]
pub struct FileId {
    inode: (u64, u64),
    /// A block device's number: it may have several inodes.
    device: Option<u64>,
}

impl FileId {
    /// Returns the id of a file whose metadata these are.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            device: metadata
                .file_type()
                .is_block_device()
                .then(|| metadata.rdev()),
        }
    }
}

impl PartialEq for FileId {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode || self.device.is_some() && self.device == other.device
    }
}

fn check_kind(path: &Path, metadata: &Metadata, refused: &[FileId]) -> Result<(), Error> {
    let kind = metadata.file_type();
    let what = if !kind.is_file() && !kind.is_block_device() {
        "is neither a file nor a block device"
    } else if refused.contains(&FileId::of(metadata)) {
        "cannot be the backing: it is used otherwise, or is the store itself"
    } else {
        return Ok(());
    };
    Err(Error::Invalid(format!("{} {what}", path.display())))
}

/// Writes all of `bytes`.
pub(crate) fn write_all(file: &dyn BlockFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += wide(written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer`.
pub(crate) fn read_all(
    file: &dyn BlockFile,
    mut buffer: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                let rest = std::mem::take(&mut buffer);
                buffer = rest.get_mut(read..).unwrap_or_default();
                offset += wide(read);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
