//! The blocks' words: a sparse table, and the pool's client.
//!
//! block -> page of the table -> word, and with access tracking the second of the last access
//! beside it. A page is 512 blocks, or the blocks whose words fill a granule of memory. It is open
//! while it has a block with content, or a thread works in it. A discard of all of a page closes
//! it; a trim closes every other page without content, and is asked for by a thread that finds no
//! memory.
//!
//! The states of pages lie in a paged table of their own ([`PagedTable`]). Of an empty store only
//! the states of that table's pages have memory: 2 KiB a terabyte.
//!
//! A closed page reads as holes. A reader that comes late may still try a compare-and-swap there:
//! it expects a live word, and fails.
//!
//! # Locking
//!
//! None.

use crate::block::content::{gone, was_block_object};
use crate::block::dedup_index::DedupIndex;
use crate::ids::as_index;
use crate::ids::{BlockIndex, SharedIndex};
use std::ops::Range;
use zs_mm::{Arena, Backing, MetaTable, PagedTable, TablePage};
use zs_sync::{AtomicU32, AtomicU64, Ordering};
use zsmalloc::{Client, Error, Layout, Target, Word, WordIndex};

/// States of pages that are paged themselves: a page of states has memory while one of its states
/// is not closed.
type SparseStates = PagedTable<AtomicU32, MetaTable<AtomicU32>>;

/// The words of all blocks, and behind them those of shared objects.
#[derive(Debug)]
pub(crate) struct BlockTable {
    words: PagedTable<AtomicU64, SparseStates>,
    /// Cells of a block: its word; and the second of its last access, if that is tracked.
    stride: usize,
    blocks: u32,
    pub(crate) shares: Option<DedupIndex>,
}

/// The owner of a word.
enum Owner {
    Block(BlockIndex),
    Shared(SharedIndex),
}

/// The options of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableOptions {
    pub(crate) blocks: u32,
    pub(crate) shares: bool,
    pub(crate) times: bool,
}

impl BlockTable {
    pub(crate) fn new<B: Backing>(arena: &Arena<B>, options: TableOptions) -> Result<Self, Error> {
        let page_blocks = (arena.granule() / size_of::<u64>()).max(1);
        let page_states = (arena.granule() / size_of::<u32>()).max(1);
        let pages = as_index(options.blocks).div_ceil(page_blocks);
        let states = arena.reserve_table(pages.div_ceil(page_states))?;
        let states = PagedTable::new(arena, pages, page_states, states)?;
        let stride = if options.times { 2 } else { 1 };
        let cells = as_index(options.blocks) * stride;
        let mut table = Self {
            words: PagedTable::new(arena, cells, page_blocks * stride, states)?,
            stride,
            blocks: options.blocks,
            shares: None,
        };
        if options.shares {
            match DedupIndex::new(arena, options.blocks) {
                Ok(shares) => table.shares = Some(shares),
                Err(error) => {
                    table.words.release(arena);
                    return Err(error);
                }
            }
        }
        Ok(table)
    }

    /// Returns the most blocks that there can be.
    pub(crate) fn end(&self) -> BlockIndex {
        BlockIndex::new(self.blocks)
    }

    /// Returns the page that a block lies in.
    fn page_of(&self, block: BlockIndex) -> TablePage {
        self.words.page_of(as_index(block.number()) * self.stride)
    }

    /// Returns the first block of a page, or the end of all blocks.
    fn start_of(&self, page: TablePage) -> BlockIndex {
        let start = self.words.cells_of(page).start / self.stride;
        BlockIndex::new(start.min(as_index(self.blocks)) as u32)
    }

    /// Returns the word of a shared object.
    pub(crate) fn shared_word(&self, number: SharedIndex) -> WordIndex {
        WordIndex::new(self.blocks + number.number())
    }

    /// Changes a block's word that holds no object to another such word, if it is still `from`.
    pub(crate) fn change(&self, block: BlockIndex, from: Word, to: Word) -> bool {
        // AcqRel: what the last holder of the block's lock did is seen, and what this one did is
        // seen by the next. Relaxed on failure: the caller looks again.
        self.cell(block).is_some_and(|cell| {
            cell.compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// Returns what a word belongs to.
    #[inline]
    fn owner(&self, index: WordIndex) -> Owner {
        match index.number().checked_sub(self.blocks) {
            None => Owner::Block(BlockIndex::new(index.number())),
            Some(number) => Owner::Shared(SharedIndex::new(number)),
        }
    }

    /// Opens the page of a block, and keeps it open until [`leave`](Self::leave). Commits memory if
    /// it was closed.
    pub(crate) fn enter<B: Backing>(
        &self,
        arena: &Arena<B>,
        block: BlockIndex,
    ) -> Result<(), Error> {
        Ok(self.words.enter(arena, self.page_of(block))?)
    }

    /// Keeps the page of a block open until [`leave`](Self::leave); false if it is closed.
    pub(crate) fn enter_if_open<B: Backing>(&self, arena: &Arena<B>, block: BlockIndex) -> bool {
        self.words.enter_if_open(arena.host(), self.page_of(block))
    }

    #[inline]
    fn cell(&self, block: BlockIndex) -> Option<&AtomicU64> {
        if block >= self.end() {
            return None;
        }
        self.words
            .cells()
            .get(as_index(block.number()) * self.stride)
    }

    /// Ends an `enter`: `before` and `after` say whether the block had content then, and has now.
    pub(crate) fn leave(&self, block: BlockIndex, before: bool, after: bool) {
        let page = self.page_of(block);
        match (before, after) {
            (false, true) => {}
            (true, false) => self.words.leave(page, 2),
            _ => self.words.leave(page, 1),
        }
    }

    /// Returns the blocks of the first open page at or after `block`, from `block` on and below
    /// `end`.
    pub(crate) fn next_open(
        &self,
        block: BlockIndex,
        end: BlockIndex,
    ) -> Option<Range<BlockIndex>> {
        let end = end.min(self.end());
        if block >= end {
            return None;
        }
        let pages = TablePage::new(self.words.pages());
        let page = self.words.next_open(self.page_of(block), pages)?;
        let start = self.start_of(page).max(block);
        (start < end).then(|| self.page_from(start, end))
    }

    /// Returns the blocks of a block's page, from it on and below `end`.
    pub(crate) fn page_from(&self, block: BlockIndex, end: BlockIndex) -> Range<BlockIndex> {
        let next = self.start_of(self.page_of(block).next());
        block..next.min(end)
    }

    /// Gives the memory of these blocks' page back, if they are all of it and it has no content.
    pub(crate) fn close_if_empty<B: Backing>(&self, arena: &Arena<B>, blocks: &Range<BlockIndex>) {
        let page = self.page_of(blocks.start);
        if self.page_from(self.start_of(page), self.end()) == *blocks {
            self.words.close_if_empty(arena, page);
        }
    }

    /// Returns the cell of a block's last access; `None` if that is not tracked. Written by who is
    /// in the page, or pins the block's object.
    pub(crate) fn time(&self, block: BlockIndex) -> Option<&AtomicU64> {
        if self.stride == 1 || block >= self.end() {
            return None;
        }
        self.words
            .cells()
            .get(as_index(block.number()) * self.stride + 1)
    }

    /// Returns the number of blocks with content, by the pages' counts; for `validate`, with no
    /// other thread at work.
    ///
    /// # Errors
    /// A page of states that does not count its open pages.
    pub(crate) fn counted(&self) -> Result<u64, String> {
        let states = self.words.states();
        let all = (0..states.pages()).map(TablePage::new);
        for outer in all {
            let pages = states.cells_of(outer);
            let open = pages.filter(|&page| self.words.is_open(TablePage::new(page as u32)));
            let (open, counted) = (open.count(), states.holds(outer));
            if open != as_index(counted) {
                return Err(format!(
                    "states {outer}: {counted} counted, {open} pages open"
                ));
            }
        }
        let pages = (0..self.words.pages()).map(TablePage::new);
        Ok(pages.map(|page| u64::from(self.words.holds(page))).sum())
    }
}

/// Lets others run, after some looks.
pub(crate) fn wait<B: Backing>(arena: &Arena<B>, spins: &mut u32) {
    *spins += 1;
    if *spins < 100 {
        std::hint::spin_loop();
    } else {
        arena.host().yield_now();
    }
}

// SAFETY: 1. `word` indexes tables that nothing replaces: block words below `blocks`, shared words
// from there on.
// 2. Words change by `change` only, a compare-and-swap that its callers give words without objects.
//    3. `emptied` gives a
// word in a client's state, or a free one.
unsafe impl Client for BlockTable {
    type Key = WordIndex;

    fn resolve(&self, index: WordIndex) -> Option<Target> {
        Some(Target::word(index))
    }

    #[inline]
    unsafe fn word(&self, index: WordIndex) -> Option<&AtomicU64> {
        match self.owner(index) {
            Owner::Block(block) => self.cell(block),
            Owner::Shared(number) => self.shares.as_ref()?.word(number),
        }
    }

    fn words(&self) -> u32 {
        self.blocks + self.shares.as_ref().map_or(0, DedupIndex::most)
    }

    fn emptied(&self, _: &Layout, last: Word) -> Word {
        if was_block_object(last) {
            gone()
        } else {
            Word::from_bits(0)
        }
    }

    unsafe fn reclaimed<B: Backing>(&self, arena: &Arena<B>, index: WordIndex) {
        if let (Owner::Shared(number), Some(shares)) = (self.owner(index), &self.shares) {
            shares.reclaimed(arena.host(), number);
        }
    }

    fn trim<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        let shares = self.shares.as_ref().map_or(0, |shares| shares.trim(arena));
        self.words.trim(arena) + shares
    }

    fn metadata_bytes(&self) -> u64 {
        let shares = self.shares.as_ref().map_or(0, DedupIndex::metadata_bytes);
        self.words.committed_bytes() + shares
    }

    unsafe fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        self.words.release(arena);
        if let Some(shares) = self.shares.take() {
            shares.release(arena);
        }
    }
}
