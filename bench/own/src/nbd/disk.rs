//! What is on a disk: pages of the files, shifted by whole groups, so that a large request's
//! payload lies in one piece.

use anyhow::{Result, ensure};
use std::io::Write as _;
use tempfile::NamedTempFile;
use zs_pages::MappedPages;

/// Bytes of a block.
pub(super) const BLOCK: usize = 4096;
/// Blocks of a large request: 128 KiB.
pub(super) const LARGE_BLOCKS: u32 = 32;

/// The pages, and how often they are on the disk.
pub(super) struct Source {
    pages: MappedPages,
    /// Whole groups of pages.
    distinct: u32,
    blocks: u32,
}

impl Source {
    pub(super) fn new(pages: MappedPages, copies: u32) -> Result<Self> {
        let distinct = pages.len() as u32 / LARGE_BLOCKS * LARGE_BLOCKS;
        ensure!(
            distinct >= 8 * LARGE_BLOCKS,
            "{} pages are too few: at least {} are needed",
            pages.len(),
            8 * LARGE_BLOCKS
        );
        Ok(Self {
            pages,
            distinct,
            blocks: distinct * copies,
        })
    }

    /// Blocks of the disk.
    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Bytes of the disk.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.blocks) * BLOCK as u64
    }

    /// What `count` blocks from `block` on are written with; they lie in one group, and `shift` is
    /// in groups.
    pub(super) fn payload(&self, block: u32, count: u32, shift: u32) -> &[u8] {
        let page = (block % self.distinct + shift * LARGE_BLOCKS % self.distinct) % self.distinct;
        let start = page as usize * BLOCK;
        &self.pages.bytes()[start..start + count as usize * BLOCK]
    }

    /// The whole disk as a file, each block with the page of its own number.
    pub(super) fn file(&self) -> Result<NamedTempFile> {
        let mut file = NamedTempFile::new()?;
        for _ in 0..self.blocks / self.distinct {
            file.write_all(&self.pages.bytes()[..self.distinct as usize * BLOCK])?;
        }
        Ok(file)
    }
}

/// Which contents the blocks of one disk have.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// By how many groups the pages are shifted; `None` for a block that is still all zeroes.
    shifts: Vec<Option<u32>>,
}

impl Model {
    pub(super) fn new(source: &Source) -> Self {
        Self {
            shifts: vec![None; source.blocks() as usize],
        }
    }

    pub(super) fn wrote(&mut self, block: u32, count: u32, shift: u32) {
        self.shifts[block as usize..][..count as usize].fill(Some(shift));
    }

    /// Whether bytes that were read are those that were written.
    pub(super) fn check(&self, source: &Source, offset: u64, bytes: &[u8]) -> Result<()> {
        let first = (offset / BLOCK as u64) as u32;
        for (found, block) in bytes.chunks(BLOCK).zip(first..) {
            let right = match self.shifts[block as usize] {
                Some(shift) => found == source.payload(block, 1, shift),
                None => found.iter().all(|byte| *byte == 0),
            };
            ensure!(right, "block {block} came back changed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zs_mm::PageSize;
    use zs_pages::Collector;

    #[test]
    fn a_changed_block_is_noticed() {
        let mut collector = Collector::new(PageSize::K4).unwrap();
        let own = "/proc/self/exe".as_ref();
        collector.add_file(own, &mut |_| ()).unwrap();
        let pages = collector.finish().unwrap().0.map().unwrap();
        let source = Source::new(pages, 2).unwrap();
        let mut model = Model::new(&source);
        model.check(&source, 0, &[0; 2 * BLOCK]).unwrap();
        assert!(model.check(&source, 0, &[1; BLOCK]).is_err());
        // The last group of the first copy.
        let block = source.blocks() / 2 - LARGE_BLOCKS;
        let offset = u64::from(block) * BLOCK as u64;
        let mut bytes = source.payload(block, LARGE_BLOCKS, 5).to_vec();
        model.wrote(block, LARGE_BLOCKS, 5);
        model.check(&source, offset, &bytes).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let error = model
            .check(&source, offset, &bytes)
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("block {} ", block + 31)), "{error}");
        let file = source.file().unwrap();
        assert_eq!(file.as_file().metadata().unwrap().len(), source.bytes());
    }
}
