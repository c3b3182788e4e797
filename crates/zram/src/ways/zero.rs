//! DISCARD and WRITE ZEROES: holes, or zeros that are allocated.
//!
//! whole blocks -> the block's lock -> hole, or the pattern 0; parts of blocks -> the block's lock
//! -> zeros written into it (`shrink`); a block that is all zeros by then becomes what was asked
//! for. A page of the table that is discarded as a whole gives its memory back.
//!
//! Neither needs memory for whole blocks: where there is none for allocated zeros, there are holes,
//! which read the same.

use crate::block::content::Content;
use crate::counters::Event;
use crate::counters::histogram::Timed;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::ids::as_index;
use crate::ids::wide;
use crate::store::Store;
use crate::store::lock::BlockLock;
use std::ops::Range;
use zs_mm::Backing;

/// The form that zeros get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroes {
    /// Holes: as if never written.
    Hole,
    /// Zeros that count as written: [`status`](Store::status) tells them from holes. Where there is
    /// no memory for a hole's word, it stays a hole.
    Allocated,
}

impl<B: Backing> Store<B> {
    /// Discards a range of any shape. Whole blocks become holes. Parts of blocks are zeroed; a
    /// block of which a part was discarded and that is all zeros afterwards is a hole, whatever
    /// it was before. A part that cannot be zeroed for want of memory stays as it was, and that
    /// is no error: a discard never fails for want of memory.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; for parts of written-back blocks what [`read`](Self::read) may
    /// answer.
    pub fn discard(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.zero(offset, len, Zeroes::Hole, true)
    }

    /// Makes a range of any shape read as zeros. A block of which a part was zeroed and that is all
    /// zeros afterwards is as a whole what was asked for. Needs no memory for whole blocks, nor
    /// for a part of one that becomes no longer by it in its own compressed form, which is the
    /// rule; others have the frames that are kept back for that.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; for parts of written-back blocks what [`read`](Self::read) may
    /// answer; [`Error::NoMemory`] for parts of blocks that become longer, are of one repeated
    /// word, shared, or written back, when there is no memory left at all.
    pub fn write_zeroes(&self, offset: u64, len: u64, zeroes: Zeroes) -> Result<(), Error> {
        self.zero(offset, len, zeroes, false)
    }

    fn zero(&self, offset: u64, len: u64, zeroes: Zeroes, may_round: bool) -> Result<(), Error> {
        let outcome = self.timed(Timed::Discard, || {
            self.zero_range(offset, len, zeroes, may_round)
        });
        let event = match &outcome {
            Ok(()) => Event::Discards,
            Err(_) => Event::FailedWrites,
        };
        self.counters.add(event, 1);
        self.refill_reserve();
        outcome
    }

    fn zero_range(
        &self,
        offset: u64,
        len: u64,
        zeroes: Zeroes,
        may_round: bool,
    ) -> Result<(), Error> {
        self.check_range(offset, len)?;
        let block_size = wide(self.block_size());
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let block = BlockIndex::of_byte(at, block_size);
            let inside = as_index(at % block_size);
            let whole = ((end - at) / block_size) as u32;
            if inside == 0 && whole > 0 {
                self.zero_blocks(block, block.plus(whole), zeroes)?;
                at += u64::from(whole) * block_size;
            } else {
                let part = (end - at).min(block_size - wide(inside));
                match self.zero_part(block, inside..inside + as_index(part), zeroes) {
                    Err(Error::NoMemory) if may_round => {}
                    outcome => outcome?,
                }
                at += part;
            }
        }
        Ok(())
    }

    fn zero_blocks(&self, start: BlockIndex, end: BlockIndex, zeroes: Zeroes) -> Result<(), Error> {
        let mut next = start;
        let mut opens = zeroes == Zeroes::Allocated;
        while next < end {
            let range = match opens {
                true => self.table().page_from(next, end),
                // Where no memory is, there are holes.
                false => match self.table().next_open(next, end) {
                    Some(range) => range,
                    None => return Ok(()),
                },
            };
            for block in BlockIndex::each(range.clone()) {
                // Only a hint: what others write at the same time may come before or after.
                if self.content(block) == (zeroes.content(), false) {
                    continue;
                }
                let Some(lock) = self.lock_to_zero(block, opens)? else {
                    // The rest of its page are holes, too; no other is opened.
                    opens = false;
                    break;
                };
                lock.set(zeroes.content())?;
            }
            if zeroes == Zeroes::Hole {
                self.table().close_if_empty(self.arena(), &range);
            }
            next = range.end;
        }
        Ok(())
    }

    /// Locks a block; `None` if it is a hole that has no memory, and gets none.
    fn lock_to_zero(
        &self,
        block: BlockIndex,
        opens: bool,
    ) -> Result<Option<BlockLock<'_, B>>, Error> {
        if opens {
            match self.with_room(|| self.lock(block)) {
                Err(Error::NoMemory) => {}
                outcome => return outcome.map(Some),
            }
        }
        self.lock_if_open(block)
    }

    fn zero_part(
        &self,
        block: BlockIndex,
        inside: Range<usize>,
        zeroes: Zeroes,
    ) -> Result<(), Error> {
        // Only a hint, as above: it reads as zeros, and is what is asked for.
        if self.content(block) == (zeroes.content(), false) {
            return Ok(());
        }
        let Some(lock) = self.lock_to_zero(block, zeroes == Zeroes::Allocated)? else {
            return Ok(());
        };
        let content = lock.content();
        // A last block that is shown in part is zeroed as a whole, too: what is not shown is zero.
        // Looked at under the lock: who has written to what a resize shows meanwhile had
        // the lock before.
        let is_all = inside.start == 0 && inside.end >= self.shown(block);
        if is_all || matches!(content, Content::Hole | Content::Same(0)) {
            return lock.set(zeroes.content());
        }
        self.zero_inside(&lock, block, inside, zeroes.content())
    }

    /// Discards everything, for a reset.
    pub(crate) fn discard_all(&self) -> Result<(), Error> {
        self.zero_blocks(BlockIndex::default(), self.table().end(), Zeroes::Hole)
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
