//! Which ranges hold data, zeros or nothing, and what their blocks take.

use crate::block::content::{Content, UNIT};
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
use zs_mm::{Backing, wide};

/// The contents of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeKind {
    /// Bytes that were written.
    Data,
    /// Zeros that were written.
    Zero,
    /// Nothing: reads as zeros.
    Hole,
}

/// Bytes in a row that hold the same kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeStatus {
    /// Bytes, at least 1.
    pub len: u64,
    /// Their contents.
    pub kind: RangeKind,
}

/// Bytes in a row, and what they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSize {
    /// Bytes, at least 1: of one block, or of any number that take nothing.
    pub len: u64,
    /// Bytes that the block takes as it is stored, in memory or in the backing, metadata not
    /// counted. A hole and a pattern below 2^56 take none; blocks that share an object each
    /// take all of it.
    pub stored: u64,
}

impl<B: Backing> Store<B> {
    /// Returns what a range holds, from its start: at most `most` ranges, neighbours of different
    /// kinds, which may cover less than was asked about if there are more. Of a block that changes
    /// meanwhile, the old or the new.
    ///
    /// Parts of the store in which nothing was ever written cost nothing.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn status(&self, offset: u64, len: u64, most: usize) -> Result<Vec<RangeStatus>, Error> {
        let kind = |block| self.kind_of(block);
        let found = self.describe(offset, len, most, RangeKind::Hole, kind, |a, b| a == b)?;
        let status = |(len, kind)| RangeStatus { len, kind };
        Ok(found.into_iter().map(status).collect())
    }

    /// Returns what each block of a range takes, from its start; blocks in a row that take nothing
    /// are together. Of a block that changes meanwhile, the old, the new, or nothing. Otherwise as
    /// [`status`](Self::status).
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn stored_sizes(
        &self,
        offset: u64,
        len: u64,
        most: usize,
    ) -> Result<Vec<StoredSize>, Error> {
        let size = |block| self.stored_size_of(block);
        let nothing = |a: &u64, b: &u64| *a == 0 && *b == 0;
        let found = self.describe(offset, len, most, 0, size, nothing)?;
        let stored = |(len, stored)| StoredSize { len, stored };
        Ok(found.into_iter().map(stored).collect())
    }

    /// Returns a range as lengths and what `of` says of each block; neighbours that are alike are
    /// one.
    fn describe<T: Copy>(
        &self,
        offset: u64,
        len: u64,
        most: usize,
        hole: T,
        of: impl Fn(BlockIndex) -> T,
        alike: impl Fn(&T, &T) -> bool,
    ) -> Result<Vec<(u64, T)>, Error> {
        self.check_range(offset, len)?;
        let block_size = wide(self.block_size());
        let end = offset + len;
        let mut found: Vec<(u64, T)> = Vec::new();
        let mut at = offset;
        while at < end {
            let block = BlockIndex::of_byte(at, block_size);
            let last = BlockIndex::behind(end, block_size);
            let (what, next) = match self.table().next_open(block, last) {
                None => (hole, end),
                Some(open) if open.start > block => (hole, open.start.start(block_size)),
                Some(_) => (of(block), block.plus(1).start(block_size)),
            };
            let part = next.min(end) - at;
            let full = found.len() == most;
            match found.last_mut() {
                Some((len, before)) if alike(before, &what) => *len += part,
                _ if full => break,
                _ => found.push((part, what)),
            }
            at += part;
        }
        Ok(found)
    }

    /// Says whether a range that lies in the store holds nothing but zeros.
    pub(crate) fn is_zeroes(&self, offset: u64, len: u64) -> bool {
        let block_size = wide(self.block_size());
        let mut next = BlockIndex::of_byte(offset, block_size);
        let end = BlockIndex::behind(offset + len, block_size);
        while let Some(open) = self.table().next_open(next, end) {
            let mut blocks = BlockIndex::each(open.clone());
            if blocks.any(|block| self.kind_of(block) == RangeKind::Data) {
                return false;
            }
            next = open.end;
        }
        true
    }

    fn kind_of(&self, block: BlockIndex) -> RangeKind {
        match self.content(block).0 {
            Content::Hole => RangeKind::Hole,
            Content::Same(0) => RangeKind::Zero,
            _ => RangeKind::Data,
        }
    }

    fn stored_size_of(&self, block: BlockIndex) -> u64 {
        let object = |index| self.read_pinned(index).map_or(0, |guard| wide(guard.len()));
        match self.content(block).0 {
            // Freed meanwhile, it takes nothing.
            Content::Object(_) => object(block.word()),
            Content::Shared(number) => object(self.table().shared_word(number)),
            Content::Backed(extent) => u64::from(extent.units) * wide(UNIT),
            Content::Hole | Content::Same(_) | Content::Between => 0,
        }
    }
}
