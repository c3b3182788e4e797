//! The finished file of pages, and its mapping, which needs `unsafe`.

use crate::error::Error;
use crate::holes::{FilePart, part_at};
use crate::lengths::to_usize;
use memmap2::{Mmap, UncheckedAdvice};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use zs_mm::PageSize;

/// A file of whole pages, at least one, that has no name and can only be read.
///
/// # Invariants
/// The file is never changed. It has no link, so it cannot be opened by name. Its last writable
/// descriptor was closed when it was sealed. Its mode forbids every user but root to open a new
/// one.
#[derive(Debug)]
pub struct PageFile {
    file: File,
    page: PageSize,
    len: u64,
    /// The ranges of bytes that are no holes: whole pages, in order.
    data: Vec<Range<u64>>,
}

impl PageFile {
    /// Makes a page file of a collected file. The caller must close all descriptors of that one.
    pub(crate) fn seal(
        written: &File,
        page: PageSize,
        failed: impl Fn(io::Error) -> Error,
    ) -> Result<Self, Error> {
        let read_only = Mode::RUSR;
        rustix::fs::fchmod(written, read_only).map_err(|errno| failed(errno.into()))?;
        let path = format!("/proc/self/fd/{}", written.as_raw_fd());
        Self::inherited(File::open(path).map_err(failed)?.into(), page)
    }

    /// Takes over the descriptor of a page file, from the process that collected it.
    ///
    /// # Errors
    /// [`Error::NotPages`] unless the file is regular, has no name, was opened for reading only,
    /// and holds at least one page and only whole ones; [`Error::Map`] if the system cannot tell.
    pub fn inherited(file: OwnedFd, page: PageSize) -> Result<Self, Error> {
        let flags = rustix::fs::fcntl_getfl(file.as_fd()).map_err(|errno| Error::Map(errno.into()));
        let file = File::from(file);
        let found = file.metadata().map_err(Error::Map)?;
        let len = found.len();
        let whole = len.is_multiple_of(page.bytes() as u64);
        let checks = [
            (found.is_file(), "it is no regular file"),
            (found.nlink() == 0, "it has a name"),
            (
                flags? & OFlags::RWMODE == OFlags::RDONLY,
                "it is open for writing",
            ),
            (len > 0, "it is empty"),
            (whole, "its length is no multiple of the page size"),
        ];
        match checks.into_iter().find(|&(holds, _)| !holds) {
            Some((_, reason)) => Err(Error::NotPages(reason)),
            None => Ok(Self {
                data: data_of(&file, len, page).map_err(Error::Map)?,
                file,
                page,
                len,
            }),
        }
    }

    /// Returns a descriptor that another process can pass to [`inherited`](Self::inherited).
    ///
    /// # Errors
    /// [`Error::Map`] if the process has no descriptor left.
    pub fn descriptor(&self) -> Result<OwnedFd, Error> {
        let file = self.file.try_clone().map_err(Error::Map)?;
        Ok(file.into())
    }

    /// Returns the number of pages, at least 1.
    pub fn pages(&self) -> u64 {
        self.len >> self.page.shift()
    }

    /// Returns the number of pages that are no holes.
    pub fn data_pages(&self) -> u64 {
        let lengths = self.data.iter().map(|range| range.end - range.start);
        lengths.sum::<u64>() >> self.page.shift()
    }

    /// Writes all pages to an empty file, and holes as holes. The outer error belongs to this file,
    /// the inner one to `out`.
    pub(crate) fn write_to(&self, out: &File) -> Result<io::Result<()>, Error> {
        let pages = self.map()?;
        let write = |range: &Range<u64>| {
            let bytes = &pages.bytes()[to_usize(range.start)..to_usize(range.end)];
            out.write_all_at(bytes, range.start)
        };
        let grown = out.set_len(self.len);
        Ok(grown.and_then(|()| self.data.iter().try_for_each(write)))
    }

    /// Maps the whole file for reading.
    ///
    /// # Errors
    /// [`Error::Map`] if there is no address space for it.
    pub fn map(&self) -> Result<MappedPages, Error> {
        // SAFETY: the mapped bytes must not change, nor the file become shorter, while they are
        // borrowed. By this type's invariant nobody writes to the file or cuts it: 1.
        // nobody has a descriptor that could, 2. nobody can get one, for want of a name and
        // by its mode. Root could all the same, as it could write to this process.
        let map = unsafe { Mmap::map(&self.file) }.map_err(Error::Map)?;
        Ok(MappedPages {
            map,
            page: self.page,
            extents: self.extents(),
        })
    }

    fn extents(&self) -> Vec<Extent> {
        let mut first = 0;
        let extents = self.data.iter().map(|range| {
            let number = |byte: u64| to_usize(byte >> self.page.shift());
            let pages = number(range.start)..number(range.end);
            let extent = Extent { first, pages };
            first = extent.end();
            extent
        });
        extents.collect()
    }
}

/// Returns the ranges of a file that are no holes.
fn data_of(file: &File, len: u64, page: PageSize) -> io::Result<Vec<Range<u64>>> {
    let mut data = Vec::new();
    let mut at = 0;
    while at < len {
        at = match part_at(file, at, page)? {
            FilePart::Hole(end) => end,
            FilePart::Data(end) => {
                data.push(at..end.min(len));
                end
            }
        };
    }
    Ok(data)
}

/// Pages of data in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The number of its first page, among all pages of data.
    pub(crate) first: usize,
    /// Their page numbers in the file.
    pub(crate) pages: Range<usize>,
}

impl Extent {
    /// Returns the number of the first page of data after it.
    pub(crate) fn end(&self) -> usize {
        self.first + self.pages.len()
    }
}

/// The mapped pages of a [`PageFile`]. They lie in the page cache, and are read from the disk when
/// first touched.
#[derive(Debug)]
pub struct MappedPages {
    map: Mmap,
    page: PageSize,
    extents: Vec<Extent>,
}

impl MappedPages {
    /// Returns the number of pages, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one page")]
    pub fn len(&self) -> usize {
        self.map.len() >> self.page.shift()
    }

    /// Returns the size of a page.
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// Returns a page, or `None` beyond the last one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_mul(self.page.bytes())?;
        self.map.get(start..)?.get(..self.page.bytes())
    }

    /// Returns the bytes of all pages, end to end.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Returns all pages, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.map.chunks_exact(self.page.bytes())
    }

    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Frees the memory that a range of pages takes in this process. The pages stay in the page
    /// cache, and are mapped again when next touched. Pages beyond the last one are ignored.
    pub fn forget(&self, pages: Range<usize>) {
        let at = |page: usize| page.saturating_mul(self.page.bytes()).min(self.map.len());
        let (start, end) = (at(pages.start), at(pages.end));
        // SAFETY: private pages would lose what was written to them, but nobody writes to this
        // mapping: what is there when it is touched again are the bytes of the file, which
        // by the invariant of `PageFile` are the same for ever.
        let forgotten = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start)
        };
        // If it fails, more memory stays in use than necessary.
        let _ = forgotten;
    }

    /// Returns the addresses of the mapping, for a meter that leaves it out.
    pub fn addresses(&self) -> Range<usize> {
        let range = self.map.as_ptr_range();
        range.start.addr()..range.end.addr()
    }
}
