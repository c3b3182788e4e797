//! Pageblock records, and the lists that link them.
//!
//! A record is a row of 64-bit words: the free frames, the committed frames, the state, the links.
//! Frames have no links of their own; only pageblocks are linked, by how full they are.
//!
//! ```text
//!  63       48 47       32 31       16 15        0
//! +-----------+-----------+-----------+-----------+
//! |           |   ready   |   free    |   flags   |    the state; counts follow from the bitmaps
//! +-----------+-----------+-----------+-----------+
//! ```

use crate::frame::mask::{FrameMask, MASK_WORDS};
use crate::meta::table::MetaTable;
use crate::size::{FrameId, narrow, wide};
use core::fmt;
use core::ops::Range;
use zs_sync::Guarded64;

/// A pageblock, by its number in the arena. Displayed as `B<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockId(u32);

/// No block: the end of a list, and above every block.
pub(crate) const NO_BLOCK: BlockId = BlockId(u32::MAX);

impl BlockId {
    /// Returns the block of this number: less than 2^19 in the largest arena.
    #[inline]
    pub(crate) fn at(index: usize) -> Self {
        Self(narrow(index))
    }

    /// Returns the number as an index of tables.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the plain number, for figures.
    pub(crate) fn number(self) -> u64 {
        self.0.into()
    }

    /// Returns the block above this one.
    #[inline]
    pub(crate) const fn above(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the block below this one, which is not the first.
    #[inline]
    pub(crate) const fn below(self) -> Self {
        Self(self.0 - 1)
    }

    /// Returns the block that lies `blocks` above this one.
    #[inline]
    pub(crate) fn plus(self, blocks: usize) -> Self {
        Self::at(self.index() + blocks)
    }

    /// Returns the blocks of a range, in order.
    pub(crate) fn each(blocks: Range<Self>) -> impl Iterator<Item = Self> + Clone {
        (blocks.start.0..blocks.end.0).map(Self)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "B{}", self.0)
    }
}

/// Lists of one zone: blocks with free committed frames, fullest quarter first; blocks whose free
/// frames are all uncommitted, fullest first; blocks without anything.
pub(crate) const LISTS: usize = 9;
pub(crate) const READY_LISTS: Range<usize> = 0..4;
pub(crate) const EMPTY_LIST: usize = 8;

/// Mapped by a huge page, if the system found one.
pub(crate) const FLAG_HUGE: u64 = 1;
/// Somebody is calling `advise` for this block; nothing of it may be given back meanwhile.
pub(crate) const FLAG_ADVISING: u64 = 2;
/// Reserved for a contiguous allocation: its free frames are nobody's to take but the reserver's,
/// and frames that are freed into it stay there.
pub(crate) const FLAG_RESERVED: u64 = 4;
/// A pass of compaction met something here that could not be moved.
pub(crate) const FLAG_SKIP: u64 = 8;

const FLAGS: u64 = 0xffff;
const FREE_SHIFT: u32 = 16;
const READY_SHIFT: u32 = 32;

/// The two figures of a block that are asked for most often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Free frames.
    pub(crate) free: usize,
    /// Those of them that are committed.
    pub(crate) ready: usize,
}

/// The records of all pageblocks; each is guarded by the lock of its zone.
#[derive(Debug)]
pub(crate) struct Blocks {
    table: MetaTable<Guarded64>,
    /// Frames in a block.
    pub(crate) frames: usize,
    /// Words of one bitmap.
    words: usize,
}

impl Blocks {
    /// Cells that a table for `blocks` blocks of `frames` frames must have.
    pub(crate) fn cells(blocks: usize, frames: usize) -> usize {
        blocks * Self::stride(frames)
    }

    fn stride(frames: usize) -> usize {
        2 * frames.div_ceil(64) + 2
    }

    pub(crate) fn new(table: MetaTable<Guarded64>, frames: usize) -> Self {
        Self {
            table,
            frames,
            words: frames.div_ceil(64),
        }
    }

    pub(crate) fn table(&self) -> &MetaTable<Guarded64> {
        &self.table
    }

    /// Takes the table out, to be released; no record is reachable afterwards.
    pub(crate) fn take_table(&mut self) -> MetaTable<Guarded64> {
        core::mem::take(&mut self.table)
    }

    /// Returns a frame of a block, by its number there.
    #[inline]
    pub(crate) fn frame(&self, block: BlockId, in_block: usize) -> FrameId {
        FrameId::at(block.index() * self.frames + in_block)
    }

    /// Returns the block of a frame.
    #[inline]
    pub(crate) fn block_of(&self, frame: FrameId) -> BlockId {
        BlockId::at(frame.index() / self.frames)
    }

    /// Returns the number of a frame within its block.
    #[inline]
    pub(crate) fn in_block(&self, frame: FrameId) -> usize {
        frame.index() % self.frames
    }

    /// Returns the last cell of a block's record: what must be committed before the block is
    /// opened.
    pub(crate) fn last_cell(&self, block: BlockId) -> usize {
        block.above().index() * Self::stride(self.frames) - 1
    }

    fn cell(&self, block: BlockId, word: usize) -> &Guarded64 {
        self.table
            .at(block.index() * Self::stride(self.frames) + word)
    }

    fn mask(&self, block: BlockId, start: usize) -> FrameMask {
        let mut mask = [0; MASK_WORDS];
        for (word, bits) in mask.iter_mut().take(self.words).enumerate() {
            *bits = self.cell(block, start + word).get();
        }
        FrameMask(mask)
    }

    fn set_mask(&self, block: BlockId, start: usize, mask: FrameMask) {
        for (word, &bits) in mask.0.iter().take(self.words).enumerate() {
            self.cell(block, start + word).set(bits);
        }
    }

    /// Returns the frames that nobody has: neither a user, nor a cache, nor a commit or decommit
    /// under way.
    pub(crate) fn free(&self, block: BlockId) -> FrameMask {
        self.mask(block, 0)
    }

    /// Sets both bitmaps, and the counts that follow.
    pub(crate) fn set_bitmaps(&self, block: BlockId, free: FrameMask, committed: FrameMask) {
        self.set_mask(block, 0, free);
        self.set_mask(block, self.words, committed);
        self.set_counts(
            block,
            Counts {
                free: free.count(),
                ready: free.and(committed).count(),
            },
        );
    }

    /// Makes one committed frame free, and counts it.
    pub(crate) fn insert_ready(&self, block: BlockId, frame: usize) {
        let cell = self.cell(block, frame / 64);
        debug_assert_eq!(cell.get() & 1 << (frame % 64), 0, "it was not free");
        cell.set(cell.get() | 1 << (frame % 64));
        let Counts { free, ready } = self.counts(block);
        self.set_counts(
            block,
            Counts {
                free: free + 1,
                ready: ready + 1,
            },
        );
    }

    /// Returns the frames with memory behind them.
    pub(crate) fn committed(&self, block: BlockId) -> FrameMask {
        self.mask(block, self.words)
    }

    fn state(&self, block: BlockId) -> &Guarded64 {
        self.cell(block, 2 * self.words)
    }

    pub(crate) fn flags(&self, block: BlockId) -> u64 {
        self.state(block).get() & FLAGS
    }

    /// Sets some flags and clears others.
    pub(crate) fn change_flags(&self, block: BlockId, set: u64, clear: u64) {
        let state = self.state(block);
        state.set(state.get() & !clear | set);
    }

    pub(crate) fn is_reserved(&self, block: BlockId) -> bool {
        self.flags(block) & FLAG_RESERVED != 0
    }

    /// Returns the number of free committed frames that anybody may take.
    pub(crate) fn available(&self, block: BlockId) -> usize {
        if self.is_reserved(block) {
            return 0;
        }
        self.counts(block).ready
    }

    /// Returns how many frames are free, and how many of those are committed.
    pub(crate) fn counts(&self, block: BlockId) -> Counts {
        let state = self.state(block).get();
        Counts {
            free: (state >> FREE_SHIFT & FLAGS) as usize,
            ready: (state >> READY_SHIFT & FLAGS) as usize,
        }
    }

    fn set_counts(&self, block: BlockId, counts: Counts) {
        let counts = (wide(counts.free)) << FREE_SHIFT | (wide(counts.ready)) << READY_SHIFT;
        let state = self.state(block);
        state.set(state.get() & FLAGS | counts);
    }

    /// Returns the neighbours in the block's list: (previous, next).
    pub(crate) fn links(&self, block: BlockId) -> (BlockId, BlockId) {
        let links = self.cell(block, 2 * self.words + 1).get();
        (BlockId((links >> 32) as u32), BlockId(links as u32))
    }

    pub(crate) fn set_links(&self, block: BlockId, previous: BlockId, next: BlockId) {
        self.cell(block, 2 * self.words + 1)
            .set(u64::from(previous.0) << 32 | u64::from(next.0));
    }

    /// Returns the free frames that are committed: to be had at once, and what trim gives back.
    pub(crate) fn ready(&self, block: BlockId) -> FrameMask {
        self.free(block).and(self.committed(block))
    }

    /// Returns the list that a block belongs to by its counts; a full block is in none, nor one
    /// that is reserved.
    pub(crate) fn list_of(&self, block: BlockId) -> Option<usize> {
        let Counts { free, ready } = self.counts(block);
        if free == 0 || self.is_reserved(block) {
            return None;
        }
        if free == self.frames && ready == 0 {
            return Some(EMPTY_LIST);
        }
        let quarter_from_full = (free - 1) * 4 / self.frames;
        Some(if ready > 0 {
            quarter_from_full
        } else {
            READY_LISTS.end + quarter_from_full
        })
    }
}
