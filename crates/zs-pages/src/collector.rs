//! Sources laid end to end, padded to whole pages.

use crate::error::Error;
use crate::page_file::PageFile;
use crate::source::{Reader, Step};
use crate::spool::Spool;
use std::path::{Path, PathBuf};
use zs_mm::PageSize;

/// The bytes moved at a time: a whole number of pages of every size.
const CHUNK: usize = 1 << 20;

/// The outcome of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path of the file.
    pub path: PathBuf,
    /// The unpacked bytes; 0 if the source was empty and adds no page.
    pub bytes: u64,
    /// The zeros that were added to fill its last page.
    pub padding: u64,
    /// The bytes of it that lie in holes: zeros that were neither read nor written.
    pub holes: u64,
    /// It was a `.zst` file, and was unpacked.
    pub unpacked: bool,
}

impl Source {
    /// Returns the number of pages that it fills.
    pub fn pages(&self, page: PageSize) -> u64 {
        (self.bytes + self.padding) >> page.shift()
    }
}

/// Collects the bytes of sources in a file without a name, one after the other, each from the start
/// of a page.
#[derive(Debug)]
pub struct Collector {
    spool: Spool,
    sources: Vec<Source>,
    buffer: Vec<u8>,
}

impl Collector {
    /// Makes a collector whose file lies in the system's folder for temporary files: `$TMPDIR`;
    /// without that `/tmp`, or `/var/tmp` if `/tmp` lies in memory.
    ///
    /// # Errors
    /// [`Error::Create`] if no file can be made there.
    pub fn new(page: PageSize) -> Result<Self, Error> {
        Ok(Self::over(Spool::new(page)?))
    }

    /// Makes a collector whose file lies in `folder`.
    ///
    /// # Errors
    /// [`Error::Create`] if no file can be made there.
    pub fn in_folder(page: PageSize, folder: &Path) -> Result<Self, Error> {
        Ok(Self::over(Spool::in_folder(page, folder)?))
    }

    fn over(spool: Spool) -> Self {
        Self {
            spool,
            sources: Vec::new(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Appends a regular file, unpacked if its name ends in `.zst`, and fills its last page with
    /// zeros. Calls `progress` with the bytes that each step added. An empty file adds no page.
    /// The same file may be added again.
    ///
    /// The file is read once, from start to end. Only disk space limits the unpacked length of a
    /// `.zst` file. Whole pages in holes of the file are neither read nor written: they become
    /// holes here.
    ///
    /// # Errors
    /// All but [`Error::NotPages`] and [`Error::Map`]. After an error nothing was added.
    pub fn add_file(&mut self, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let before = self.spool.len();
        let added = self.append(path, progress);
        if added.is_err() {
            self.spool.rewind(before);
        }
        self.sources.push(added?);
        Ok(())
    }

    fn append(&mut self, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<Source, Error> {
        let page = self.spool.page_size();
        let whole = page.bytes();
        let mut reader = Reader::open(path)?;
        let (mut bytes, mut holes) = (0_u64, 0);
        // Only the last step may end inside a page, so only that one is padded.
        while bytes.is_multiple_of(whole as u64) {
            let stepped = match reader.step(path, page, &mut self.buffer)? {
                Step::Read(got) => {
                    let padded = got.next_multiple_of(whole);
                    self.buffer[got..padded].fill(0);
                    self.spool.append(&self.buffer[..padded], path)?;
                    got as u64
                }
                Step::Hole(len) => {
                    let padded = len.next_multiple_of(whole as u64);
                    self.spool.append_hole(padded, path)?;
                    holes += len;
                    len
                }
                Step::End => break,
            };
            bytes += stepped;
            progress(stepped);
        }
        Ok(Source {
            path: path.to_owned(),
            bytes,
            padding: bytes.next_multiple_of(whole as u64) - bytes,
            holes,
            unpacked: reader.unpacks(),
        })
    }

    /// Returns the sources so far.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Returns the bytes of all pages so far, with padding.
    pub fn padded_len(&self) -> u64 {
        self.spool.len()
    }

    /// Ends the collection. Afterwards the file can only be read.
    ///
    /// # Errors
    /// [`Error::NotPages`] if no source had a byte; [`Error::Write`] if the file cannot be made
    /// read-only.
    pub fn finish(self) -> Result<(PageFile, Vec<Source>), Error> {
        Ok((self.spool.finish()?, self.sources))
    }
}
