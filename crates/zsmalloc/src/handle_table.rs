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
//! *fresh* counts the words that were ever used (those above are free too, and still zero), *free*
//! those in the list. The side cells of 64 pages are led by a cell with a bit for each page that has
//! a free word.
//!
//! # Locking
//!
//! One leaf lock (`Handles`). Pages are committed before they are opened, with no lock held.

use crate::client::Client;
use crate::error::Error;
use crate::word::{Layout, Target, Word};
use core::fmt;
use core::num::NonZeroU64;
use zs_mm::{Arena, Backing, MetaTable};
use zs_sync::{AtomicU64, Guarded64, Mutex, Ordering, Rank, StaticCounter};

/// Words of a page.
const PAGE_WORDS: u32 = 512;
/// Pages that one summary cell covers.
const GROUP: u32 = 64;

/// Names one object of one pool. Displayed in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(NonZeroU64);

impl Handle {
    /// The handle as a number, never 0.
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// A handle from its number; `None` for 0. Any other number is accepted here, and refused as
    /// stale where it is used if it names no object.
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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pages below this one are open.
    opened: u32,
    /// No group below this one has a free word.
    lowest_group: u32,
}

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

    fn is_empty(self) -> bool {
        self.free == 0 && u32::from(self.fresh) == PAGE_WORDS
    }
}

impl HandleTable {
    /// A table for at most `max_objects` objects.
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
            state: Mutex::new(Rank::Handles, State::default()),
        })
    }

    /// The handle of a word that holds an object.
    pub(crate) fn handle(&self, index: u32, word: Word) -> Option<Handle> {
        let generation = self.layout.generation_of(word);
        let salted =
            (self.tag & !self.generation_mask()) | (self.tag ^ generation) & self.generation_mask();
        Handle::from_bits(u64::from(salted) << 32 | u64::from(index + 1))
    }

    /// The low bits of a handle's upper half that are the (salted) generation.
    fn generation_mask(&self) -> u32 {
        ((1_u64 << self.layout.generation_bits()) - 1) as u32
    }

    fn page_cell(&self, page: u32) -> &Guarded64 {
        self.pages.at((page + page / GROUP + 1) as usize)
    }

    fn summary_cell(&self, group: u32) -> &Guarded64 {
        self.pages.at((group * (GROUP + 1)) as usize)
    }

    /// Words of a page: all but the last have 512.
    fn page_len(&self, page: u32) -> u32 {
        (self.words.len() as u32 - page * PAGE_WORDS).min(PAGE_WORDS)
    }

    /// Takes a free word. It keeps the generation that its next object will have.
    pub(crate) fn take<B: Backing>(&self, arena: &Arena<B>) -> Result<u32, Error> {
        loop {
            let page = match self.take_from_open(arena) {
                Ok(index) => return Ok(index),
                Err(page) => page,
            };
            if page as usize * PAGE_WORDS as usize >= self.words.len() {
                return Err(Error::NoMemory);
            }
            arena.ensure(&self.pages, (page + page / GROUP + 1) as usize)?;
            arena.ensure(
                &self.words,
                (page * PAGE_WORDS + self.page_len(page) - 1) as usize,
            )?;
            self.open(arena, page);
        }
    }

    fn open<B: Backing>(&self, arena: &Arena<B>, page: u32) {
        let mut state = self.state.lock(arena.host());
        // Somebody else may have opened it meanwhile; then there are free words.
        if state.opened == page {
            state.opened = page + 1;
            // A short last page begins with the words it lacks already used.
            let fresh = (PAGE_WORDS - self.page_len(page)) as u16;
            let list = FreeList {
                head: 0,
                tail: 0,
                free: 0,
                fresh,
            };
            self.page_cell(page).set(list.pack());
            self.mark(&mut state, page, true);
        }
    }

    /// Takes a free word of the lowest open page that has any, or names the page to open.
    fn take_from_open<B: Backing>(&self, arena: &Arena<B>) -> Result<u32, u32> {
        let mut state = self.state.lock(arena.host());
        let groups = state.opened.div_ceil(GROUP);
        let group = (state.lowest_group..groups).find(|&group| self.summary_cell(group).get() != 0);
        let Some(group) = group else {
            state.lowest_group = groups.saturating_sub(1);
            return Err(state.opened);
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
        Ok(page * PAGE_WORDS + in_page)
    }

    /// Puts a word back, at the end of its page's list.
    pub(crate) fn put<B: Backing>(&self, arena: &Arena<B>, index: u32) {
        let (page, in_page) = (index / PAGE_WORDS, index % PAGE_WORDS);
        let mut state = self.state.lock(arena.host());
        let mut list = FreeList::unpack(self.page_cell(page).get());
        self.set_next(index, 0);
        if list.free == 0 {
            list.head = in_page as u16 + 1;
        } else {
            let tail = page * PAGE_WORDS + u32::from(list.tail) - 1;
            self.set_next(tail, in_page as u16 + 1);
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

    fn next_of(&self, page: u32, in_page: u16) -> u16 {
        let word = self
            .words
            .at((page * PAGE_WORDS + u32::from(in_page) - 1) as usize);
        // Relaxed: a free word belongs to this table alone, under its lock.
        (word.load(Ordering::Relaxed) >> 4) as u16
    }

    /// Stores the link of a free word, and keeps its generation.
    fn set_next(&self, index: u32, next: u16) {
        let word = self.words.at(index as usize);
        // Relaxed: see `next_of`; a read-modify-write, since every change of a word is one.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            debug_assert!(!Word::from_bits(bits).has_place());
            Some(bits & self.layout.generation_mask() | u64::from(next) << 4)
        });
    }

    /// Checks that a page's list holds each of its free words once, and that the summary knows.
    fn validate_page(&self, page: u32) -> Result<(), &'static str> {
        let list = FreeList::unpack(self.page_cell(page).get());
        let mut listed = [0_u64; (PAGE_WORDS / 64) as usize];
        let (mut next, mut last) = (list.head, 0);
        for _ in 0..list.free {
            let Some(in_page) = next.checked_sub(1) else {
                return Err("a page's list of free words is shorter than its count");
            };
            let word = self
                .words
                .get((page * PAGE_WORDS + u32::from(in_page)) as usize);
            // Relaxed: nobody else is at work.
            let state = word.map(|word| Word(word.load(Ordering::Relaxed)).state());
            let (group, bit) = (usize::from(in_page) / 64, 1 << (in_page % 64));
            if state != Some(crate::State::Free) || listed[group] & bit != 0 {
                return Err("a listed word is not free, or listed twice");
            }
            listed[group] |= bit;
            (next, last) = (self.next_of(page, next), next);
        }
        let missing = PAGE_WORDS - self.page_len(page);
        let words = page * PAGE_WORDS..page * PAGE_WORDS + self.page_len(page);
        let has_place = |&index: &u32| {
            let word = self.words.at(index as usize).load(Ordering::Relaxed);
            Word(word).has_place()
        };
        let live = words.filter(has_place).count() as u32;
        if u32::from(list.fresh) - missing != live + u32::from(list.free) {
            return Err("words that were handed out are neither in use nor listed as free");
        }
        let summary = self.summary_cell(page / GROUP).get() & (1 << (page % GROUP)) != 0;
        if summary == list.is_empty() {
            return Err("a page's summary bit is wrong");
        }
        if list.free > 0 && (next != 0 || last != list.tail) {
            return Err("a page's list does not end at its tail");
        }
        Ok(())
    }

    /// The generation bits that the next object of a free word carries.
    pub(crate) fn generation_bits_of(&self, index: u32) -> (u64, Word) {
        let cell = self.words.at(index as usize);
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
        (salted == generation).then(|| Target::generation(&self.layout, index, generation))
    }

    #[inline]
    unsafe fn word(&self, index: u32) -> Option<&AtomicU64> {
        self.words.get(index as usize)
    }

    fn words(&self) -> u32 {
        let words = self.words.committed_bytes() / size_of::<u64>() as u64;
        words.min(self.words.len() as u64) as u32
    }

    fn emptied(&self, layout: &Layout, last: Word) -> Word {
        let generation = layout.generation_of(last).wrapping_add(1);
        Word::from_bits(layout.place_generation(generation))
    }

    unsafe fn reclaimed<B: Backing>(&self, arena: &Arena<B>, index: u32) {
        self.put(arena, index);
    }

    fn validate<B: Backing>(&self, arena: &Arena<B>) -> Result<(), &'static str> {
        let (opened, lowest_group) = {
            let state = self.state.lock(arena.host());
            (state.opened, state.lowest_group)
        };
        if (0..lowest_group).any(|group| self.summary_cell(group).get() != 0) {
            return Err("a group below the lowest has a free word");
        }
        (0..opened).try_for_each(|page| self.validate_page(page))
    }

    fn metadata_bytes(&self) -> u64 {
        self.words.committed_bytes() + self.pages.committed_bytes()
    }

    unsafe fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        arena.release_table(core::mem::take(&mut self.words));
        arena.release_table(core::mem::take(&mut self.pages));
    }
}
