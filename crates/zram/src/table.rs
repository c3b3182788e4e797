//! The blocks' words: a sparse table, and the pool's client.
//!
//! block -> piece -> word, and with access tracking the second of the last access beside it. A piece is 512 blocks, or
//! what a granule of memory holds; it has memory while it has a block that is no hole, or somebody is at work in it. A
//! discard of all of a piece gives its memory back; of other pieces that hold nothing a trim does, which whoever finds no
//! memory asks for.
//! piece -> group (1024 pieces, whose cells fill a granule), which has memory while one of its pieces has. Of an
//! empty store only the groups' cells are there: 2 KiB a terabyte. The cell of each is a [`PieceState`].
//!
//! A closed piece reads as holes. A reader that comes late may still try a compare-and-swap there: it expects
//! a live word, and fails (promise 3 of a backing). The same holds for a piece's cell in a closed group.
//!
//! # Locking
//!
//! None. A piece is opened from within its group, and leaves it when it is closed.

use crate::content::{gone, was_block_object};
use crate::dedup_index::DedupIndex;
use crate::ids::{BlockIndex, SharedIndex};
use crate::piece_state::{Entry, PieceState};
use std::ops::Range;
use zs_mm::{Arena, Backing, MetaTable};
use zs_sync::{AtomicU32, AtomicU64, Ordering};
use zsmalloc::{Client, Error, Layout, Target, Word, WordIndex};

/// The words of all blocks, and behind them those of shared objects.
#[derive(Debug)]
pub(crate) struct BlockTable {
    words: MetaTable<AtomicU64>,
    pieces: MetaTable<AtomicU32>,
    groups: MetaTable<AtomicU32>,
    /// Cells of a block: its word; and the second of its last access, if that is tracked.
    stride: usize,
    /// Blocks of a piece.
    piece: u32,
    /// Pieces of a group.
    group: u32,
    blocks: u32,
    pub(crate) shares: Option<DedupIndex>,
}

/// What a word belongs to.
enum Owner {
    Block(BlockIndex),
    Shared(SharedIndex),
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
        let mut table = Self {
            words: MetaTable::default(),
            pieces: MetaTable::default(),
            groups: MetaTable::default(),
            stride: if options.times { 2 } else { 1 },
            piece,
            group: (arena.granule() / size_of::<u32>()).max(1) as u32,
            blocks: options.blocks,
            shares: None,
        };
        match table.reserve(arena, options) {
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
    ) -> Result<(), Error> {
        let pieces = options.blocks.div_ceil(self.piece);
        self.words = arena.reserve_table(options.blocks as usize * self.stride)?;
        self.pieces = arena.reserve_table(pieces as usize)?;
        self.groups = arena.reserve_table(pieces.div_ceil(self.group) as usize)?;
        if options.shares {
            self.shares = Some(DedupIndex::new(arena, options.blocks)?);
        }
        Ok(())
    }

    fn release_tables<B: Backing>(&mut self, arena: &Arena<B>) {
        let words = std::mem::take(&mut self.words);
        if !words.is_empty() {
            arena.release_table(words);
        }
        for cells in [&mut self.pieces, &mut self.groups] {
            let cells = std::mem::take(cells);
            if !cells.is_empty() {
                arena.release_table(cells);
            }
        }
        if let Some(shares) = self.shares.take() {
            shares.release(arena);
        }
    }

    /// Returns the most blocks that there can be.
    pub(crate) fn end(&self) -> BlockIndex {
        BlockIndex::new(self.blocks)
    }

    /// Returns the piece that a block lies in.
    fn piece_of(&self, block: BlockIndex) -> u32 {
        block.number() / self.piece
    }

    /// Returns the word of a shared object.
    pub(crate) fn shared_word(&self, number: SharedIndex) -> WordIndex {
        WordIndex::new(self.blocks + number.number())
    }

    /// Changes a block's word that holds no object to another such word, if it is still `from`.
    pub(crate) fn change(&self, block: BlockIndex, from: Word, to: Word) -> bool {
        // AcqRel: what the last holder of the block's lock did is seen, and what this one did is seen by the next.
        // Relaxed on failure: the caller looks again.
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

    /// Returns the first block of a piece.
    fn start_of(&self, piece: u32) -> BlockIndex {
        BlockIndex::new(piece.saturating_mul(self.piece))
    }

    fn gate(&self, piece: u32) -> PieceState<'_> {
        PieceState(self.pieces.at(piece as usize))
    }

    fn group_gate(&self, group: u32) -> PieceState<'_> {
        PieceState(self.groups.at(group as usize))
    }

    /// Opens the piece of a block, and keeps it open until [`leave`](Self::leave). Commits memory if it was closed.
    pub(crate) fn enter<B: Backing>(
        &self,
        arena: &Arena<B>,
        block: BlockIndex,
    ) -> Result<(), Error> {
        let piece = self.piece_of(block);
        let mut spins = 0;
        loop {
            match self.gate(piece).enter() {
                Entry::Inside => return Ok(()),
                Entry::OnItsWay => wait(arena, &mut spins),
                Entry::Closed => {
                    if self.open(arena, piece)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Keeps the piece of a block open until [`leave`](Self::leave); false if it is closed.
    pub(crate) fn enter_if_open<B: Backing>(&self, arena: &Arena<B>, block: BlockIndex) -> bool {
        let gate = self.gate(self.piece_of(block));
        let mut spins = 0;
        loop {
            match gate.enter() {
                Entry::Inside => return true,
                Entry::OnItsWay => wait(arena, &mut spins),
                Entry::Closed => return false,
            }
        }
    }

    /// Commits a piece, and is in it then; false if somebody else does.
    #[cold]
    fn open<B: Backing>(&self, arena: &Arena<B>, piece: u32) -> Result<bool, Error> {
        let group = piece / self.group;
        self.enter_group(arena, group)?;
        let gate = self.gate(piece);
        let mut outcome = Ok(false);
        if gate.begin_opening() {
            let committed = arena.commit_cells(&self.words, self.cells_of(piece));
            gate.end_opening(committed.is_ok());
            if committed.is_ok() {
                // It stays in its group until it is closed.
                return Ok(true);
            }
            outcome = committed.map(|()| true);
        }
        self.group_gate(group).leave(1);
        Ok(outcome?)
    }

    fn enter_group<B: Backing>(&self, arena: &Arena<B>, group: u32) -> Result<(), Error> {
        arena.ensure(&self.groups, group as usize)?;
        let gate = self.group_gate(group);
        let mut spins = 0;
        loop {
            match gate.enter() {
                Entry::Inside => return Ok(()),
                Entry::OnItsWay => wait(arena, &mut spins),
                Entry::Closed if gate.begin_opening() => {
                    let committed = arena.commit_cells(&self.pieces, self.pieces_cells(group));
                    gate.end_opening(committed.is_ok());
                    return Ok(committed?);
                }
                Entry::Closed => {}
            }
        }
    }

    /// Returns the pieces of a group.
    fn pieces_of(&self, group: u32) -> Range<u32> {
        let start = group * self.group;
        start
            ..start
                .saturating_add(self.group)
                .min(self.pieces.len() as u32)
    }

    fn pieces_cells(&self, group: u32) -> Range<usize> {
        let pieces = self.pieces_of(group);
        pieces.start as usize..pieces.end as usize
    }

    fn cells_of(&self, piece: u32) -> Range<usize> {
        let start = piece as usize * self.piece as usize;
        let end = (start + self.piece as usize).min(self.blocks as usize);
        start * self.stride..end * self.stride
    }

    #[inline]
    fn cell(&self, block: BlockIndex) -> Option<&AtomicU64> {
        if block >= self.end() {
            return None;
        }
        self.words.get(block.number() as usize * self.stride)
    }

    /// Ends an `enter`: `before` and `after` say whether the block had content then, and has now.
    pub(crate) fn leave(&self, block: BlockIndex, before: bool, after: bool) {
        let gate = self.gate(self.piece_of(block));
        match (before, after) {
            (false, true) => {}
            (true, false) => gate.leave(2),
            _ => gate.leave(1),
        }
    }

    /// Returns the first block at or after `block`, below `end`, whose piece is open; and where
    /// that piece ends.
    pub(crate) fn next_open(
        &self,
        block: BlockIndex,
        end: BlockIndex,
    ) -> Option<Range<BlockIndex>> {
        let end = end.min(self.end());
        let mut block = block;
        while block < end {
            let piece = self.piece_of(block);
            let group = piece / self.group;
            let after = if self.group_gate(group).is_open() {
                piece + 1
            } else {
                self.pieces_of(group).end
            };
            let next = self.start_of(after).min(end);
            if after == piece + 1 && self.gate(piece).is_open() {
                return Some(block..next);
            }
            block = next;
        }
        None
    }

    /// Returns the blocks of a block's piece, from it on and below `end`.
    pub(crate) fn piece_from(&self, block: BlockIndex, end: BlockIndex) -> Range<BlockIndex> {
        let next = self.start_of(self.piece_of(block) + 1);
        block..next.min(end)
    }

    /// Gives the memory of these blocks' piece back, and of its group, if they are all of it and nothing is in it.
    pub(crate) fn close_if_empty<B: Backing>(&self, arena: &Arena<B>, blocks: &Range<BlockIndex>) {
        let piece = self.piece_of(blocks.start);
        let is_whole = self.piece_from(self.start_of(piece), self.end()) == *blocks;
        if is_whole && self.close_empty(arena, piece) > 0 {
            self.close_group(arena, piece / self.group);
        }
    }

    /// Returns the cell of a block's last access; `None` if that is not tracked. Written by who is
    /// in the piece, or pins the block's object.
    pub(crate) fn time(&self, block: BlockIndex) -> Option<&AtomicU64> {
        if self.stride == 1 || block >= self.end() {
            return None;
        }
        self.words.get(block.number() as usize * self.stride + 1)
    }

    /// Returns the blocks with content, by the pieces' counts; for `validate`, with nobody at work.
    ///
    /// # Errors
    /// A group that does not count its open pieces.
    pub(crate) fn counted(&self) -> Result<u64, String> {
        let mut blocks = 0;
        for group in 0..self.groups.len() as u32 {
            let gates = || self.pieces_of(group).map(|piece| self.gate(piece));
            let open = gates().filter(|gate| gate.is_open()).count();
            let counted = self.group_gate(group).count();
            if open != counted as usize {
                return Err(format!(
                    "group {group}: {counted} counted, {open} pieces open"
                ));
            }
            blocks += gates().map(|gate| u64::from(gate.count())).sum::<u64>();
        }
        Ok(blocks)
    }

    fn trim_group<B: Backing>(&self, arena: &Arena<B>, group: u32) -> u64 {
        if !self.group_gate(group).is_open() {
            return 0;
        }
        let pieces = self.pieces_of(group);
        let bytes: u64 = pieces.map(|piece| self.close_empty(arena, piece)).sum();
        bytes + self.close_group(arena, group)
    }

    fn close_group<B: Backing>(&self, arena: &Arena<B>, group: u32) -> u64 {
        let gate = self.group_gate(group);
        if !gate.begin_closing() {
            return 0;
        }
        let bytes = arena.decommit_cells(&self.pieces, self.pieces_cells(group));
        gate.end_closing(bytes > 0);
        bytes
    }

    fn close_empty<B: Backing>(&self, arena: &Arena<B>, piece: u32) -> u64 {
        // A cell of a group that somebody else closes just now reads as closed.
        let gate = self.gate(piece);
        if !gate.begin_closing() {
            return 0;
        }
        let bytes = arena.decommit_cells(&self.words, self.cells_of(piece));
        gate.end_closing(bytes > 0);
        if bytes > 0 {
            self.group_gate(piece / self.group).leave(1);
        }
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
        let groups = 0..self.groups.len() as u32;
        let blocks: u64 = groups.map(|group| self.trim_group(arena, group)).sum();
        blocks + self.shares.as_ref().map_or(0, |shares| shares.trim(arena))
    }

    fn metadata_bytes(&self) -> u64 {
        let shares = self.shares.as_ref().map_or(0, DedupIndex::metadata_bytes);
        let cells = self.pieces.committed_bytes() + self.groups.committed_bytes();
        self.words.committed_bytes() + cells + shares
    }

    unsafe fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        self.release_tables(arena);
    }
}
