//! The blocks' words: a sparse table, and the pool's client.
//!
//! block -> piece (512 blocks, or what a granule of memory holds) -> word, and with access tracking the second of the last access beside it. A piece has memory while it has a block that is no
//! hole, or somebody is at work in it. One cell a piece:
//!
//! ```text
//!   31     30    29                 0
//! +------+------+-------------------+
//! | open | on   | blocks with       |   "on its way": one thread commits it, or gives it back
//! |      | its  | content + threads |
//! |      | way  | at work           |
//! +------+------+-------------------+
//! ```
//!
//! A closed piece reads as holes. A reader that comes late may still try a compare-and-swap there: it expects
//! a live word, and fails (promise 3 of a backing).
//!
//! # Locking
//!
//! None. Who finds a piece on its way lets others run until it has arrived.

use crate::content::{gone, was_locked};
use crate::dedup::Shares;
use std::ops::Range;
use zs_mm::{Arena, Backing, MetaTable};
use zs_sync::{AtomicU32, AtomicU64, Ordering};
use zsmalloc::{Client, Error, Layout, Target, Word};

const OPEN: u32 = 1 << 31;
const ON_ITS_WAY: u32 = 1 << 30;
const COUNT: u32 = ON_ITS_WAY - 1;

/// The words of all blocks, and behind them those of shared objects.
#[derive(Debug)]
pub(crate) struct BlockTable {
    words: MetaTable<AtomicU64>,
    pieces: MetaTable<AtomicU32>,
    /// Cells of a block: its word; and the second of its last access, if that is tracked.
    stride: usize,
    /// Blocks of a piece.
    piece: u32,
    blocks: u32,
    pub(crate) shares: Option<Shares>,
}

/// What of a table there is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableOptions {
    pub(crate) blocks: u32,
    pub(crate) shares: bool,
    pub(crate) times: bool,
}

impl BlockTable {
    pub(crate) fn new<B: Backing>(arena: &Arena<B>, options: TableOptions) -> Result<Self, Error> {
        let piece = (arena.granule() / size_of::<u64>()).max(1) as u32;
        let pieces = options.blocks.div_ceil(piece);
        let mut table = Self {
            words: MetaTable::default(),
            pieces: MetaTable::default(),
            stride: if options.times { 2 } else { 1 },
            piece,
            blocks: options.blocks,
            shares: None,
        };
        match table.reserve(arena, options, pieces) {
            Ok(()) => Ok(table),
            Err(error) => {
                table.release_tables(arena);
                Err(error)
            }
        }
    }

    fn reserve<B: Backing>(
        &mut self,
        arena: &Arena<B>,
        options: TableOptions,
        pieces: u32,
    ) -> Result<(), Error> {
        self.words = arena.reserve_table(options.blocks as usize * self.stride)?;
        self.pieces = arena.reserve_table(pieces as usize)?;
        if options.shares {
            self.shares = Some(Shares::new(arena, options.blocks)?);
        }
        Ok(())
    }

    fn release_tables<B: Backing>(&mut self, arena: &Arena<B>) {
        let words = std::mem::take(&mut self.words);
        if !words.is_empty() {
            arena.release_table(words);
        }
        let pieces = std::mem::take(&mut self.pieces);
        if !pieces.is_empty() {
            arena.release_table(pieces);
        }
        if let Some(shares) = self.shares.take() {
            shares.release(arena);
        }
    }

    /// The most blocks that there can be.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The word of a shared object.
    pub(crate) fn shared_index(&self, number: u32) -> u32 {
        self.blocks + number
    }

    /// Changes a block's word that holds no object to another such word, if it is still `from`.
    pub(crate) fn change(&self, block: u32, from: Word, to: Word) -> bool {
        // AcqRel: what the last holder of the block's lock did is seen, and what this one did is seen by the next.
        // Relaxed on failure: the caller looks again.
        self.cell(block).is_some_and(|cell| {
            cell.compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// Opens the piece of a block, and keeps it open until [`leave`](Self::leave). Commits memory if it was closed.
    pub(crate) fn enter<B: Backing>(&self, arena: &Arena<B>, block: u32) -> Result<(), Error> {
        let piece = (block / self.piece) as usize;
        arena.ensure(&self.pieces, piece)?;
        let cell = self.pieces.at(piece);
        let mut spins = 0_u32;
        loop {
            // Relaxed: the compare-and-swap decides.
            let seen = cell.load(Ordering::Relaxed);
            if seen & ON_ITS_WAY != 0 {
                wait(arena, &mut spins);
            } else if seen & OPEN != 0 {
                // Acquire pairs with the Release of who opened it: the memory is there.
                let entered =
                    cell.compare_exchange(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed);
                if entered.is_ok() {
                    return Ok(());
                }
            } else if cell
                .compare_exchange(0, ON_ITS_WAY, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                return self.open(arena, piece);
            }
        }
    }

    /// Commits a piece that this thread has set on its way, and is in it then.
    #[cold]
    fn open<B: Backing>(&self, arena: &Arena<B>, piece: usize) -> Result<(), Error> {
        let cells = self.cells_of(piece);
        let committed = arena.commit_cells(&self.words, cells);
        let after = if committed.is_ok() { OPEN | 1 } else { 0 };
        // Release pairs with the Acquire of who enters.
        self.pieces.at(piece).swap(after, Ordering::Release);
        Ok(committed?)
    }

    fn cells_of(&self, piece: usize) -> Range<usize> {
        let start = piece * self.piece as usize;
        let end = (start + self.piece as usize).min(self.blocks as usize);
        start * self.stride..end * self.stride
    }

    #[inline]
    fn cell(&self, block: u32) -> Option<&AtomicU64> {
        if block >= self.blocks {
            return None;
        }
        self.words.get(block as usize * self.stride)
    }

    /// Ends an `enter`: `before` and `after` say whether the block had content then, and has now.
    pub(crate) fn leave(&self, block: u32, before: bool, after: bool) {
        let cell = self.pieces.at((block / self.piece) as usize);
        // Release pairs with the Acquire of who closes the piece: this thread's work in it is over.
        match (before, after) {
            (false, true) => {}
            (true, false) => {
                cell.fetch_sub(2, Ordering::Release);
            }
            _ => {
                cell.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// The first block at or after `block`, below `end`, whose piece is open; and where that piece ends.
    pub(crate) fn next_open(&self, block: u32, end: u32) -> Option<Range<u32>> {
        let end = end.min(self.blocks);
        let mut block = block;
        while block < end {
            let piece = block / self.piece;
            let next = (piece + 1).saturating_mul(self.piece).min(end);
            // Acquire: as in `enter`. A piece that opens just now has nothing that must be seen.
            let is_open = self
                .pieces
                .get(piece as usize)
                .is_some_and(|cell| cell.load(Ordering::Acquire) & OPEN != 0);
            if is_open {
                return Some(block..next);
            }
            block = next;
        }
        None
    }

    /// The cell of a block's last access; `None` if that is not tracked. Written by who is in the piece, or pins
    /// the block's object.
    pub(crate) fn time(&self, block: u32) -> Option<&AtomicU64> {
        if self.stride == 1 || block >= self.blocks {
            return None;
        }
        self.words.get(block as usize * self.stride + 1)
    }

    /// Blocks with content, by the pieces' counts; for `validate`, with nobody at work.
    pub(crate) fn counted(&self) -> u64 {
        let count = |piece: usize| u64::from(self.pieces.at(piece).load(Ordering::Acquire) & COUNT);
        (0..self.pieces.len()).map(count).sum()
    }

    fn close_empty<B: Backing>(&self, arena: &Arena<B>, piece: usize) -> u64 {
        let cell = self.pieces.at(piece);
        // Acquire pairs with the Release of who left last.
        if cell
            .compare_exchange(OPEN, ON_ITS_WAY, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            return 0;
        }
        let cells = self.cells_of(piece);
        let bytes = arena.decommit_cells(&self.words, cells);
        let after = if bytes == 0 { OPEN } else { 0 };
        // Release pairs with the Acquire of who enters.
        cell.swap(after, Ordering::Release);
        bytes
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

// SAFETY: 1. `word` indexes tables that nothing replaces: block words below `blocks`, shared words from there on.
// 2. Words change by `change` only, a compare-and-swap that its callers give words without objects. 3. `emptied` gives a
// word in a client's state, or a free one.
unsafe impl Client for BlockTable {
    type Key = u32;

    fn resolve(&self, index: u32) -> Option<Target> {
        Some(Target::word(index))
    }

    #[inline]
    unsafe fn word(&self, index: u32) -> Option<&AtomicU64> {
        match index.checked_sub(self.blocks) {
            None => self.cell(index),
            Some(number) => self.shares.as_ref()?.word(number),
        }
    }

    fn words(&self) -> u32 {
        if self.shares.is_some() {
            self.blocks * 2
        } else {
            self.blocks
        }
    }

    fn emptied(&self, _: &Layout, last: Word) -> Word {
        if was_locked(last) {
            gone()
        } else {
            Word::from_bits(0)
        }
    }

    unsafe fn reclaimed<B: Backing>(&self, _: &Arena<B>, index: u32) {
        let number = index.checked_sub(self.blocks);
        if let (Some(number), Some(shares)) = (number, &self.shares) {
            shares.reclaimed(number);
        }
    }

    fn trim<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        (0..self.pieces.len())
            .map(|piece| self.close_empty(arena, piece))
            .sum()
    }

    fn metadata_bytes(&self) -> u64 {
        let shares = self.shares.as_ref().map_or(0, Shares::metadata_bytes);
        self.words.committed_bytes() + self.pieces.committed_bytes() + shares
    }

    unsafe fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        self.release_tables(arena);
    }
}
