//! The default client: words named by handles that detect use after free.
//!
//! A handle is `tag | generation | word index + 1`. The generation is the word's, which counts its
//! reuses; the tag is the pool's. So a freed handle is refused until its word has been reused
//! 2^[`generation_bits`](crate::Layout::generation_bits) times, and another pool's handle unless that
//! word's reuses make up the difference of the two tags (`docs/words.md`).
//!
//! Free words are kept by page of 512: first in, first out within a page, those that were never used
//! before those that were, and the lowest page with any goes first, so that the upper pages empty. A free word holds, beside its generation, the next
//! free word of its page. One side cell for each page has its list:
//!
//! ```text
//!  63       48 47       32 31       16 15        0
//! +-----------+-----------+-----------+-----------+
//! |   fresh   |   free    |   tail    |   head    |    words of the page, 1 to 512; 0 is none
//! +-----------+-----------+-----------+-----------+
//! ```
//!
//! *fresh* counts the words that were ever used since the page was opened (those above are free too),
//! *free* those in the list. The side cells of 64 pages are led by a cell with a bit for each page that
//! has a free word.
//!
//! A page without objects can be closed, and its memory given back. Its side cell then has a *fresh*
//! that no open page has, and in its lower half the generation with which all its words go on. Pages
//! are opened and closed in groups, as many as a granule of memory has, the lowest first.
//!
//! # Locking
//!
//! One leaf lock (`Handles`). A group's cells say that it is on its way before its memory is committed
//! or given back, which happens with no lock held; so it comes or goes by one thread at a time. A
//! compare-and-swap of a reader with a stale handle may come after its word's memory has gone: it
//! fails (promise 3 of a backing).

use crate::client::Client;
use crate::error::Error;
use crate::ids::WordIndex;
use crate::word::{Layout, Target, Word};
use core::fmt;
use core::num::NonZeroU64;
use zs_mm::{Arena, Backing, MetaTable};
use zs_sync::{
    AtomicU32, AtomicU64, Guarded64, Mutex, Ordering, Rank, StaticCounter, assert_may_block,
};

/// Words of a page.
const PAGE_WORDS: u32 = 512;
/// Pages that one summary cell covers.
const GROUP: u32 = 64;

/// Names one object of one pool. Displayed in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(NonZeroU64);

impl Handle {
    /// Returns the handle as a number, never 0.
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// Makes a handle from its number; `None` for 0. Any other number is accepted here, and refused
    /// as stale where it is used if it names no object.
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// Different for each table of the process, for 2^32 tables: the counter times an odd constant, so
/// that neighbours differ in their upper bits too.
fn next_tag() -> u32 {
    static TABLES: StaticCounter = StaticCounter::new(1);
    TABLES.next().wrapping_mul(0x9e37_79b1)
}

/// A table of words, named by [`Handle`]s.
#[derive(Debug)]
pub struct HandleTable {
    words: MetaTable<AtomicU64>,
    pages: MetaTable<Guarded64>,
    layout: Layout,
    tag: u32,
    /// Pages of a group.
    group: u32,
    /// All words that were ever open have an index below this.
    bound: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pages from this one on were never open.
    end: u32,
    /// Groups below `end` that are closed, and the number below which none is.
    closed: u32,
    lowest_closed: u32,
    /// How often a group was set on its way, and how often one arrived.
    set_out: u64,
    arrived: u64,
    /// No group of summary cells below this one has a free word.
    lowest_group: u32,
}

/// What *fresh* says of a page that is closed, and of one on its way there or back.
const CLOSED: u16 = u16::MAX;
const ON_ITS_WAY: u16 = u16::MAX - 1;

/// A page's free list, unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FreeList {
    head: u16,
    tail: u16,
    free: u16,
    fresh: u16,
}

impl FreeList {
    fn unpack(bits: u64) -> Self {
        Self {
            head: bits as u16,
            tail: (bits >> 16) as u16,
            free: (bits >> 32) as u16,
            fresh: (bits >> 48) as u16,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.head)
            | u64::from(self.tail) << 16
            | u64::from(self.free) << 32
            | u64::from(self.fresh) << 48
    }

    /// Makes a page that is not open; its words go on with `generation`.
    fn shut(fresh: u16, generation: u32) -> Self {
        Self {
            fresh,
            ..Self::unpack(generation.into())
        }
    }

    /// Returns the generation of a page that is not open.
    fn generation(self) -> u32 {
        self.pack() as u32
    }

    fn is_open(self) -> bool {
        u32::from(self.fresh) <= PAGE_WORDS
    }

    fn is_empty(self) -> bool {
        self.free == 0 && u32::from(self.fresh) == PAGE_WORDS
    }
}

mod check;
mod pages;

impl HandleTable {
    /// Makes a table for at most `max_objects` objects.
    pub(crate) fn new<B: Backing>(
        arena: &Arena<B>,
        layout: Layout,
        max_objects: u32,
    ) -> Result<Self, Error> {
        let words = arena.reserve_table(max_objects as usize)?;
        let pages = max_objects.div_ceil(PAGE_WORDS);
        let cells = pages + pages.div_ceil(GROUP);
        let pages = match arena.reserve_table(cells as usize) {
            Ok(pages) => pages,
            Err(error) => {
                arena.release_table(words);
                return Err(error.into());
            }
        };
        Ok(Self {
            words,
            pages,
            layout,
            tag: next_tag(),
            group: (arena.granule() / (PAGE_WORDS as usize * size_of::<u64>())).max(1) as u32,
            bound: AtomicU32::new(0),
            state: Mutex::new(Rank::Handles, State::default()),
        })
    }

    /// Returns the handle of a word that holds an object.
    pub(crate) fn handle(&self, index: WordIndex, word: Word) -> Option<Handle> {
        let generation = self.layout.generation_of(word);
        let salted =
            (self.tag & !self.generation_mask()) | (self.tag ^ generation) & self.generation_mask();
        Handle::from_bits(u64::from(salted) << 32 | u64::from(index.number() + 1))
    }

    /// Returns the low bits of a handle's upper half that are the (salted) generation.
    fn generation_mask(&self) -> u32 {
        ((1_u64 << self.layout.generation_bits()) - 1) as u32
    }

    fn page_cell(&self, page: u32) -> &Guarded64 {
        self.pages.at((page + page / GROUP + 1) as usize)
    }

    fn summary_cell(&self, group: u32) -> &Guarded64 {
        self.pages.at((group * (GROUP + 1)) as usize)
    }

    /// Returns the number of words of a page: all but the last have 512.
    fn page_len(&self, page: u32) -> u32 {
        (self.words.len() as u32 - page * PAGE_WORDS).min(PAGE_WORDS)
    }

    /// Takes a free word. It keeps the generation that its next object will have. Waits for pages that
    /// other threads are opening or closing if there is no other word.
    pub(crate) fn take<B: Backing>(&self, arena: &Arena<B>) -> Result<WordIndex, Error> {
        let mut waited = false;
        loop {
            let group = match self.take_from_open(arena) {
                Ok(index) => return Ok(index),
                Err(group) => group,
            };
            if let Err(error) = self.open_group(arena, group) {
                if core::mem::replace(&mut waited, true) {
                    return Err(error);
                }
                self.wait_for_arrivals(arena);
            }
        }
    }

    /// Waits until every group has arrived that is on its way now: it may have free words then, or can
    /// be opened.
    fn wait_for_arrivals<B: Backing>(&self, arena: &Arena<B>) {
        let until = self.state.lock(arena.host()).set_out;
        while self.state.lock(arena.host()).arrived < until {
            assert_may_block();
            arena.host().yield_now();
        }
    }

    /// Takes a free word of the lowest open page that has any, or names the group to open.
    fn take_from_open<B: Backing>(&self, arena: &Arena<B>) -> Result<WordIndex, u32> {
        let mut state = self.state.lock(arena.host());
        let groups = state.end.div_ceil(GROUP);
        let group = (state.lowest_group..groups).find(|&group| self.summary_cell(group).get() != 0);
        let Some(group) = group else {
            state.lowest_group = groups.saturating_sub(1);
            return Err(self.lowest_closed(&mut state));
        };
        state.lowest_group = group;
        let page = group * GROUP + self.summary_cell(group).get().trailing_zeros();
        let mut list = FreeList::unpack(self.page_cell(page).get());
        // Words that were never used come first: they were free the longest.
        let in_page = if u32::from(list.fresh) < PAGE_WORDS {
            list.fresh += 1;
            // The words that a short last page lacks count as its first.
            u32::from(list.fresh) - 1 - (PAGE_WORDS - self.page_len(page))
        } else {
            let taken = list.head;
            list.head = self.next_of(page, taken);
            list.free -= 1;
            u32::from(taken) - 1
        };
        self.page_cell(page).set(list.pack());
        if list.is_empty() {
            self.mark(&mut state, page, false);
        }
        Ok(WordIndex::new(page * PAGE_WORDS + in_page))
    }

    /// Puts a word back, at the end of its page's list.
    pub(crate) fn put<B: Backing>(&self, arena: &Arena<B>, index: WordIndex) {
        let (page, in_page) = (index.number() / PAGE_WORDS, index.number() % PAGE_WORDS);
        let mut state = self.state.lock(arena.host());
        let mut list = FreeList::unpack(self.page_cell(page).get());
        self.set_next(index, 0);
        if list.free == 0 {
            list.head = in_page as u16 + 1;
        } else {
            let tail = page * PAGE_WORDS + u32::from(list.tail) - 1;
            self.set_next(WordIndex::new(tail), in_page as u16 + 1);
        }
        list.tail = in_page as u16 + 1;
        list.free += 1;
        self.page_cell(page).set(list.pack());
        self.mark(&mut state, page, true);
    }

    fn mark(&self, state: &mut State, page: u32, has_free: bool) {
        let summary = self.summary_cell(page / GROUP);
        let bit = 1 << (page % GROUP);
        if has_free {
            summary.set(summary.get() | bit);
            state.lowest_group = state.lowest_group.min(page / GROUP);
        } else {
            summary.set(summary.get() & !bit);
        }
    }

    fn has_free_words(&self, page: u32) -> bool {
        self.summary_cell(page / GROUP).get() & (1 << (page % GROUP)) != 0
    }

    fn next_of(&self, page: u32, in_page: u16) -> u16 {
        let word = self
            .words
            .at((page * PAGE_WORDS + u32::from(in_page) - 1) as usize);
        // Relaxed: a free word belongs to this table alone, under its lock.
        (word.load(Ordering::Relaxed) >> 4) as u16
    }

    /// Stores the link of a free word, and keeps its generation.
    fn set_next(&self, index: WordIndex, next: u16) {
        let word = self.words.at(index.index());
        // Relaxed: see `next_of`; a read-modify-write, since every change of a word is one.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            debug_assert!(!Word::from_bits(bits).has_place());
            Some(bits & self.layout.generation_mask() | u64::from(next) << 4)
        });
    }

    /// Returns the generation bits that the next object of a free word carries.
    pub(crate) fn generation_bits_of(&self, index: WordIndex) -> (u64, Word) {
        let cell = self.words.at(index.index());
        // Relaxed: the caller took the word under this table's lock.
        let word = Word::from_bits(cell.load(Ordering::Relaxed));
        (word.bits() & self.layout.generation_mask(), word)
    }
}

// SAFETY: 1. `word` indexes one table of cells, which nothing replaces. 2. The table changes a word
// only between `reclaimed` (or a failed insert) and `take`, when it is free, and by
// read-modify-writes that keep it free; it gives no cell out but through `word`. 3. `emptied`
// clears the state bits: the free state.
unsafe impl Client for HandleTable {
    type Key = Handle;

    #[inline]
    fn resolve(&self, handle: Handle) -> Option<Target> {
        let salted = (handle.to_bits() >> 32) as u32 ^ self.tag;
        let generation = salted & self.generation_mask();
        let index = (handle.to_bits() as u32).checked_sub(1)?;
        let target = || Target::generation(&self.layout, WordIndex::new(index), generation);
        (salted == generation).then(target)
    }

    #[inline]
    unsafe fn word(&self, index: WordIndex) -> Option<&AtomicU64> {
        self.words.get(index.index())
    }

    fn words(&self) -> u32 {
        // Relaxed: a bound that only grows.
        self.bound.load(Ordering::Relaxed)
    }

    fn emptied(&self, layout: &Layout, last: Word) -> Word {
        let generation = layout.generation_of(last).wrapping_add(1);
        Word::from_bits(layout.place_generation(generation))
    }

    unsafe fn reclaimed<B: Backing>(&self, arena: &Arena<B>, index: WordIndex) {
        self.put(arena, index);
    }

    fn validate<B: Backing>(&self, arena: &Arena<B>) -> Result<(), &'static str> {
        self.check(arena)
    }

    fn trim<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        self.close_empty(arena)
    }

    fn metadata_bytes(&self) -> u64 {
        self.words.committed_bytes() + self.pages.committed_bytes()
    }

    unsafe fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        arena.release_table(core::mem::take(&mut self.words));
        arena.release_table(core::mem::take(&mut self.pages));
    }
}
