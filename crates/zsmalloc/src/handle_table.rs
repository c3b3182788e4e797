//! The default client: words named by handles that detect use after free.
//!
//! A handle is `tag | generation | word index + 1`. The generation is the word's, which counts its
//! reuses; the tag is the pool's. So a freed handle is refused until its word has been reused
//! 2^[`generation_bits`](crate::Layout::generation_bits) times, and another pool's handle unless
//! that word's reuses make up the difference of the two tags (`docs/words.md`).
//!
//! Free words are kept in lists of 512 neighbours: first in, first out within a list, words that
//! were never used before those that were. The lowest list with a free word goes first, so that the
//! upper pages empty. A free word holds, beside its generation, the next free word of its list.
//! Each list has a cell:
//!
//! ```text
//!  63       48 47       32 31       16 15        0
//! +-----------+-----------+-----------+-----------+
//! |  1 + used |   free    |   tail    |   head    |    words of the list, 1 to 512; 0 is none
//! +-----------+-----------+-----------+-----------+
//! ```
//!
//! *used* counts the words that were ever used since the list was opened (those above are free
//! too), *free* those in the list. The cells of 64 lists are led by one with a bit for each list
//! that has a free word.
//!
//! A page of the table has the lists that fill a granule of memory. A page without objects can be
//! closed, and its memory given back. The upper half of its lists' cells is 0 then, the lower half
//! the generation with which all words of the list go on. Pages are opened the lowest first.
//!
//! # Locking
//!
//! One leaf lock (`Handles`). A list is opened after its memory is there, and closed before it
//! goes; both happen under the lock, the memory comes and goes with no lock held. A
//! compare-and-swap of a reader with a stale handle may come after its word's memory has gone: it
//! fails (promise 3 of a backing).

use crate::client::Client;
use crate::error::Error;
use crate::ids::WordIndex;
use crate::ids::as_index;
use crate::word::{Layout, Target, Word};
use core::fmt;
use core::num::NonZeroU64;
use lists::{FreeList, LIST_WORDS, ListIndex, Lists};
use zs_mm::{Arena, Backing, OpenedPages, PagedTable, TablePage, Transit};
use zs_sync::{AtomicU32, AtomicU64, LockName, Mutex, Ordering, StaticCounter};

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
    words: PagedTable<AtomicU64, Lists>,
    layout: Layout,
    tag: u32,
    /// All words that were ever open have an index below this.
    bound: AtomicU32,
    transit: Transit,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pages: OpenedPages,
    /// The summaries of the lists that were ever open.
    summaries: u32,
    /// No summary below this one has a free word.
    lowest_summary: u32,
}

mod check;
mod lists;
mod pages;

impl HandleTable {
    /// Makes a table for at most `max_objects` objects.
    pub(crate) fn new<B: Backing>(
        arena: &Arena<B>,
        layout: Layout,
        max_objects: u32,
    ) -> Result<Self, Error> {
        let lists = Lists::new(arena, max_objects)?;
        let page_words = lists.page_words();
        Ok(Self {
            words: PagedTable::new(arena, as_index(max_objects), page_words, lists)?,
            layout,
            tag: next_tag(),
            bound: AtomicU32::new(0),
            transit: Transit::default(),
            state: Mutex::new(LockName::Handles, State::default()),
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

    fn lists(&self) -> &Lists {
        self.words.states()
    }

    /// Takes a free word. It keeps the generation that its next object will have. Waits for pages
    /// that other threads are opening or closing if there is no other word.
    pub(crate) fn take<B: Backing>(&self, arena: &Arena<B>) -> Result<WordIndex, Error> {
        let taken = self.transit.take_or_open(
            arena.host(),
            || self.take_from_open(arena),
            |page| self.open_page(arena, page),
        );
        Ok(taken?)
    }

    /// Takes a free word of the lowest open list that has any, or names the page to open.
    fn take_from_open<B: Backing>(&self, arena: &Arena<B>) -> Result<WordIndex, TablePage> {
        let mut state = self.state.lock(arena.host());
        let summaries = state.lowest_summary..state.summaries;
        let Some(list) = self.lists().lowest_with_free(summaries) else {
            state.lowest_summary = state.summaries.saturating_sub(1);
            return Err(state.pages.next_to_open(&self.words));
        };
        state.lowest_summary = list.summary();
        let mut free = self.lists().get(list);
        // Words that were never used come first: they were free the longest.
        let in_list = if free.has_unused() {
            // The words that a short last list lacks count as its first.
            free.take_unused() - (LIST_WORDS - self.list_len(list))
        } else {
            let taken = free.head;
            free.head = self.next_of(list, taken);
            free.free -= 1;
            u32::from(taken) - 1
        };
        self.lists().set(list, free);
        if free.is_empty() {
            self.mark(&mut state, list, false);
        }
        Ok(list.word(in_list))
    }

    /// Puts a word back, at the end of its list.
    pub(crate) fn put<B: Backing>(&self, arena: &Arena<B>, index: WordIndex) {
        let list = ListIndex::of(index);
        let mut state = self.state.lock(arena.host());
        let mut free = self.lists().get(list);
        let number = list.place_of(index) + 1;
        self.set_next(index, 0);
        if free.free == 0 {
            free.head = number;
        } else {
            self.set_next(list.word(u32::from(free.tail) - 1), number);
        }
        if free.is_empty() {
            self.mark(&mut state, list, true);
        }
        free.tail = number;
        free.free += 1;
        self.lists().set(list, free);
    }

    /// Notes whether a list has a free word.
    #[inline]
    fn mark(&self, state: &mut State, list: ListIndex, has_free: bool) {
        self.lists().mark(list, has_free);
        if has_free {
            state.lowest_summary = state.lowest_summary.min(list.summary());
        }
    }

    /// Returns the number of words of a list: all but the last have 512.
    fn list_len(&self, list: ListIndex) -> u32 {
        (self.words.cells().len() as u32 - list.word(0).number()).min(LIST_WORDS)
    }

    /// Returns the free word after `number`; both count from 1, and 0 is none.
    fn next_of(&self, list: ListIndex, number: u16) -> u16 {
        let word = list.word(u32::from(number) - 1);
        // Relaxed: a free word belongs to this table alone, under its lock.
        (self.words.cells().at(word.index()).load(Ordering::Relaxed) >> 4) as u16
    }

    /// Stores the link of a free word, and keeps its generation.
    fn set_next(&self, index: WordIndex, next: u16) {
        let word = self.words.cells().at(index.index());
        // Relaxed: see `next_of`; a read-modify-write, since every change of a word is one.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            debug_assert!(!Word::from_bits(bits).has_place());
            Some(bits & self.layout.generation_mask() | u64::from(next) << 4)
        });
    }

    /// Returns the generation bits that the next object of a free word carries.
    pub(crate) fn generation_bits_of(&self, index: WordIndex) -> (u64, Word) {
        let cell = self.words.cells().at(index.index());
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
        self.words.cells().get(index.index())
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
        self.words.committed_bytes()
    }

    unsafe fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        self.words.release(arena);
    }
}
