//! Requests cut into blocks.

use crate::error::Error;
use crate::ids::BlockIndex;
use crate::ids::as_index;
use crate::ids::wide;
use crate::store::Store;
use std::ops::Range;
use zs_mm::Backing;

/// The part of a request that lies in one block.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) block: BlockIndex,
    /// Bytes of the block.
    pub(crate) inside: Range<usize>,
    /// Bytes of the request.
    pub(crate) request: Range<usize>,
}

impl<B: Backing> Store<B> {
    /// Returns the pieces of a request that lies within the store.
    pub(crate) fn pieces(
        &self,
        offset: u64,
        len: usize,
    ) -> Result<impl Iterator<Item = Piece> + use<B>, Error> {
        self.check_range(offset, wide(len))?;
        let block_size = self.block_size();
        let mut done = 0;
        Ok(std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset + wide(done);
            let start = as_index(at % wide(block_size));
            let part = (block_size - start).min(len - done);
            let piece = Piece {
                block: BlockIndex::of_byte(at, wide(block_size)),
                inside: start..start + part,
                request: done..done + part,
            };
            done += part;
            Some(piece)
        }))
    }

    /// Says whether a request lies within the store.
    pub(crate) fn check_range(&self, offset: u64, len: u64) -> Result<(), Error> {
        let size = self.size();
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::OutOfRange { offset, len, size }),
        }
    }

    /// Returns how much of a block the store shows.
    pub(crate) fn shown(&self, block: BlockIndex) -> usize {
        let start = block.start(wide(self.block_size()));
        (self.size() - start.min(self.size())).min(wide(self.block_size())) as usize
    }
}
