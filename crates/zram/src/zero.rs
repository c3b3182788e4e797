//! DISCARD and WRITE ZEROES: holes, or zeros that are allocated.
//!
//! whole blocks -> the block's lock -> hole, or the pattern 0; parts of blocks -> written with zeros, and a block
//! that is all zeros by then becomes what was asked for.

use crate::content::Content;
use crate::counters::Event;
use crate::error::Error;
use crate::histogram::Timed;
use crate::range::Piece;
use crate::same::same_filled;
use crate::scratch::with_scratch;
use crate::store::Store;
use zs_mm::Backing;

/// What zeros become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroes {
    /// Holes: as if never written.
    Hole,
    /// Zeros that count as written: [`status`](Store::status) tells them from holes.
    Allocated,
}

impl<B: Backing> Store<B> {
    /// Discards a range of any shape, which then reads as zeros. Parts of blocks are zeroed; a block that is
    /// all zeros afterwards is a hole.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; for parts of blocks what [`write`](Self::write) may answer.
    pub fn discard(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.write_zeroes(offset, len, Zeroes::Hole)
    }

    /// Makes a range of any shape read as zeros.
    ///
    /// # Errors
    /// As for [`discard`](Self::discard).
    pub fn write_zeroes(&self, offset: u64, len: u64, zeroes: Zeroes) -> Result<(), Error> {
        let outcome = self
            .latencies
            .time(Timed::Discard, || self.zero_range(offset, len, zeroes));
        let event = match &outcome {
            Ok(()) => Event::Discards,
            Err(_) => Event::FailedWrites,
        };
        self.counters.add(event, 1);
        outcome
    }

    fn zero_range(&self, offset: u64, len: u64, zeroes: Zeroes) -> Result<(), Error> {
        self.check_range(offset, len)?;
        let block_size = self.block_size() as u64;
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let block = (at / block_size) as u32;
            let inside = (at % block_size) as usize;
            let shown = self.shown(block);
            let part = ((end - at) as usize).min(shown - inside);
            if inside > 0 || part < shown {
                self.zero_part(block, inside..inside + part, zeroes)?;
                at += part as u64;
            } else {
                let whole = ((end - at) / block_size).max(1) as u32;
                // A last block that is shown in part is whole, too.
                self.zero_blocks(block, block + whole, zeroes)?;
                at += u64::from(whole - 1) * block_size + self.shown(block + whole - 1) as u64;
            }
        }
        Ok(())
    }

    fn zero_blocks(&self, start: u32, end: u32, zeroes: Zeroes) -> Result<(), Error> {
        let mut next = start;
        while next < end {
            let range = match zeroes {
                Zeroes::Allocated => next..end,
                // Where no memory is, there are holes.
                Zeroes::Hole => match self.table().next_open(next, end) {
                    Some(range) => range,
                    None => return Ok(()),
                },
            };
            for block in range.clone() {
                self.zero_block(block, zeroes)?;
            }
            next = range.end;
        }
        Ok(())
    }

    fn zero_block(&self, block: u32, zeroes: Zeroes) -> Result<(), Error> {
        let wanted = match zeroes {
            Zeroes::Hole => Content::Hole,
            Zeroes::Allocated => Content::Same(0),
        };
        // Only a hint: what others write at the same time may come before or after.
        if self.content(block) == (wanted, false) {
            return Ok(());
        }
        self.lock(block)?.set(wanted);
        Ok(())
    }

    fn zero_part(
        &self,
        block: u32,
        inside: std::ops::Range<usize>,
        zeroes: Zeroes,
    ) -> Result<(), Error> {
        match (self.content(block), zeroes) {
            // It reads as zeros, and nothing is allocated that was not.
            ((Content::Hole, false), Zeroes::Hole) | ((Content::Same(0), false), _) => {
                return Ok(());
            }
            _ => {}
        }
        let piece = Piece {
            block,
            request: 0..inside.len(),
            inside,
        };
        with_scratch(self.block_size(), |scratch| {
            self.write_part(&piece, scratch, |bytes| bytes.fill(0))?;
            if zeroes == Zeroes::Hole && same_filled(&scratch.block) == Some(0) {
                let lock = self.lock(block)?;
                if lock.content() == Content::Same(0) {
                    lock.set(Content::Hole);
                }
            }
            Ok(())
        })
    }

    /// Everything, for a reset.
    pub(crate) fn discard_all(&self) -> Result<(), Error> {
        self.zero_blocks(0, self.table().blocks(), Zeroes::Hole)
    }
}
