//! The objects: compressed once, by the parent, into a file that every child maps.
//!
//! Data model: `pages -> LZ4 -> one file: the lengths, 16 bits each, then the bytes end to end ->
//! mapped`.

use crate::load::Load;
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::fd::{AsRawFd as _, OwnedFd};
use zs_mm::PageSize;
use zs_pages::{MappedPages, PageFile};

/// The size of a page, and of the pages of the file.
pub(super) const PAGE: PageSize = PageSize::K4;

/// Bytes of a length.
const LENGTH: usize = 2;

/// The file, and what is in it.
pub(super) struct ObjectFile {
    pub(super) file: PageFile,
    pub(super) count: u32,
    /// Bytes of all objects.
    pub(super) payload: u64,
}

impl ObjectFile {
    /// Compresses every object into a file without a name.
    pub(super) fn build(load: &mut Load<'_>) -> Result<Self> {
        let count = load.objects();
        let mut file = tempfile::tempfile().context("the file of objects")?;
        let mut lengths = Vec::with_capacity(count as usize * LENGTH);
        let mut out = BufWriter::new(&file);
        out.seek(SeekFrom::Start(lengths.capacity() as u64))?;
        let mut payload = 0;
        for number in 0..count {
            let bytes = load.object(number)?;
            lengths.extend((bytes.len() as u16).to_le_bytes());
            out.write_all(bytes)?;
            payload += bytes.len() as u64;
        }
        out.flush()?;
        drop(out);
        file.set_len((lengths.len() as u64 + payload).next_multiple_of(PAGE.bytes() as u64))?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&lengths)?;
        let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Ok(Self {
            file: PageFile::inherited(read_only.into(), PAGE)?,
            count,
            payload,
        })
    }
}

/// The objects in memory.
pub(super) struct Objects {
    pages: MappedPages,
    /// Where each begins, and where the last ends.
    starts: Vec<u64>,
}

impl Objects {
    /// Maps a file of `count` objects, and touches all of it.
    pub(super) fn map(file: OwnedFd, count: u32) -> Result<Self> {
        let pages = PageFile::inherited(file, PAGE)?.map()?;
        let bytes = pages.bytes();
        let table = count as usize * LENGTH;
        let Some(lengths) = bytes.get(..table) else {
            bail!("the file of objects is too short for {count} lengths");
        };
        let mut starts = vec![table as u64];
        let mut end = table as u64;
        for length in lengths.chunks_exact(LENGTH) {
            end += u64::from(u16::from_le_bytes([length[0], length[1]]));
            starts.push(end);
        }
        if end > bytes.len() as u64 {
            bail!("the file of objects ends before its last object");
        }
        let touched: u64 = pages.iter().map(|page| u64::from(page[0])).sum();
        std::hint::black_box(touched);
        Ok(Self { pages, starts })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// The bytes of an object.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let at = number as usize;
        &self.pages.bytes()[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// Where they lie, for a meter that is to leave them out.
    pub(super) fn addresses(&self) -> Range<usize> {
        self.pages.addresses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zs_pages::Collector;

    #[test]
    fn every_object_comes_back_from_the_file() {
        let mut collector = Collector::new(PAGE).unwrap();
        let program = "/proc/self/exe".as_ref();
        collector.add_file(program, &mut |_| ()).unwrap();
        let pages = collector.finish().unwrap().0.map().unwrap();
        let mut load = Load::new(&pages, 1, 1).unwrap();
        let file = ObjectFile::build(&mut load).unwrap();
        let objects = Objects::map(file.file.descriptor().unwrap(), file.count).unwrap();
        assert_eq!(objects.count(), load.objects());
        let mut payload = 0;
        for number in 0..objects.count() {
            assert_eq!(objects.get(number), load.object(number).unwrap());
            payload += objects.get(number).len() as u64;
        }
        assert_eq!(payload, file.payload);
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() {
        let mut collector = Collector::new(PAGE).unwrap();
        collector
            .add_file("/proc/self/exe".as_ref(), &mut |_| ())
            .unwrap();
        let pages = collector.finish().unwrap().0;
        let bytes = pages.pages() << PAGE.shift();
        let error = Objects::map(pages.descriptor().unwrap(), bytes as u32).err();
        assert!(error.unwrap().to_string().contains("too short"));
    }
}
