//! Which ranges hold data, zeros or nothing.

use crate::content::Content;
use crate::error::Error;
use crate::store::Store;
use zs_mm::Backing;

/// What a range holds.
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
    /// What they hold.
    pub kind: RangeKind,
}

impl<B: Backing> Store<B> {
    /// What a range holds, from its start: at most `most` ranges, neighbours of different kinds, which may cover
    /// less than was asked about if there are more. Of a block that changes meanwhile, the old or the new.
    ///
    /// Parts of the store in which nothing was ever written cost nothing.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn status(&self, offset: u64, len: u64, most: usize) -> Result<Vec<RangeStatus>, Error> {
        self.check_range(offset, len)?;
        let block_size = self.block_size() as u64;
        let end = offset + len;
        let mut found: Vec<RangeStatus> = Vec::new();
        let mut at = offset;
        while at < end {
            let block = (at / block_size) as u32;
            let last = end.div_ceil(block_size) as u32;
            let (kind, next) = match self.table().next_open(block, last) {
                None => (RangeKind::Hole, end),
                Some(open) if open.start > block => {
                    (RangeKind::Hole, u64::from(open.start) * block_size)
                }
                Some(_) => (self.kind_of(block), u64::from(block + 1) * block_size),
            };
            let part = next.min(end) - at;
            let full = found.len() == most;
            match found.last_mut() {
                Some(range) if range.kind == kind => range.len += part,
                _ if full => break,
                _ => found.push(RangeStatus { len: part, kind }),
            }
            at += part;
        }
        Ok(found)
    }

    /// Whether a range that lies in the store holds nothing but zeros.
    pub(crate) fn is_zeroes(&self, offset: u64, len: u64) -> bool {
        let block_size = self.block_size() as u64;
        // A store has fewer than 2^31 blocks.
        let mut next = (offset / block_size) as u32;
        let end = (offset + len).div_ceil(block_size) as u32;
        while let Some(open) = self.table().next_open(next, end) {
            if open
                .clone()
                .any(|block| self.kind_of(block) == RangeKind::Data)
            {
                return false;
            }
            next = open.end;
        }
        true
    }

    fn kind_of(&self, block: u32) -> RangeKind {
        match self.content(block).0 {
            Content::Hole => RangeKind::Hole,
            Content::Same(0) => RangeKind::Zero,
            _ => RangeKind::Data,
        }
    }
}
