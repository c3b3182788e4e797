//! DISCARD and WRITE ZEROES: holes, or zeros that are allocated.
//!
//! whole blocks -> the block's lock -> hole, or the pattern 0; parts of blocks -> the block's lock -> zeros written into
//! it; a block that is all zeros by then becomes what was asked for.

use crate::content::Content;
use crate::counters::Event;
use crate::error::Error;
use crate::histogram::Timed;
use crate::lock::Coded;
use crate::scratch::{Scratch, with_scratch};
use crate::store::Store;
use std::ops::Range;
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
    /// Discards a range of any shape, which then reads as zeros. Parts of blocks are zeroed; a block of which a part
    /// was discarded and that is all zeros afterwards is a hole, whatever it was before.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; for parts of blocks what [`write`](Self::write) may answer.
    pub fn discard(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.write_zeroes(offset, len, Zeroes::Hole)
    }

    /// Makes a range of any shape read as zeros. A block of which a part was zeroed and that is all zeros afterwards is
    /// as a whole what was asked for.
    ///
    /// # Errors
    /// As for [`discard`](Self::discard).
    pub fn write_zeroes(&self, offset: u64, len: u64, zeroes: Zeroes) -> Result<(), Error> {
        let outcome = self.timed(Timed::Discard, || self.zero_range(offset, len, zeroes));
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
            let whole = ((end - at) / block_size) as u32;
            if inside == 0 && whole > 0 {
                self.zero_blocks(block, block + whole, zeroes)?;
                at += u64::from(whole) * block_size;
            } else {
                let part = (end - at).min(block_size - inside as u64);
                self.zero_part(block, inside..inside + part as usize, zeroes)?;
                at += part;
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
                // Only a hint: what others write at the same time may come before or after.
                if self.content(block) != (zeroes.content(), false) {
                    self.lock(block)?.set(zeroes.content())?;
                }
            }
            next = range.end;
        }
        Ok(())
    }

    fn zero_part(&self, block: u32, inside: Range<usize>, zeroes: Zeroes) -> Result<(), Error> {
        // Only a hint, as above: it reads as zeros, and is what is asked for.
        if self.content(block) == (zeroes.content(), false) {
            return Ok(());
        }
        let lock = self.lock(block)?;
        let content = lock.content();
        // A last block that is shown in part is zeroed as a whole, too: what is not shown is zero. Looked at under
        // the lock: who has written to what a resize shows meanwhile had the lock before.
        let is_all = inside.start == 0 && inside.end >= self.shown(block);
        if is_all || matches!(content, Content::Hole | Content::Same(0)) {
            return lock.set(zeroes.content());
        }
        with_scratch(self.block_size(), |scratch| {
            let Scratch {
                block: plain,
                coded,
                joined,
            } = scratch;
            self.read_locked(block, content, plain, joined)?;
            plain[inside].fill(0);
            match self.code(0, plain, coded)? {
                Coded::Same(0) => lock.set(zeroes.content()),
                coded => self.put(&lock, block, coded),
            }
        })
    }

    /// Everything, for a reset.
    pub(crate) fn discard_all(&self) -> Result<(), Error> {
        self.zero_blocks(0, self.table().blocks(), Zeroes::Hole)
    }
}

impl Zeroes {
    fn content(self) -> Content {
        match self {
            Self::Hole => Content::Hole,
            Self::Allocated => Content::Same(0),
        }
    }
}
