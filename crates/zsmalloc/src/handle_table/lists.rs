//! The lists of free words: a cell each, and a summary of every 64.

use crate::ids::WordIndex;
use crate::ids::as_index;
use core::fmt;
use core::ops::Range;
use zs_mm::{Arena, Backing, Error, MetaTable, PageStates, TablePage};
use zs_sync::{AtomicU32, AtomicU64, Guarded64, Pair};

/// Words of a list.
pub(super) const LIST_WORDS: u32 = 512;
/// Lists that one summary covers.
const SUMMARY: u32 = 64;

/// A list of free words. Displayed as `L<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListIndex(u32);

impl ListIndex {
    /// Returns the list of a word.
    pub(super) fn of(word: WordIndex) -> Self {
        Self(word.number() / LIST_WORDS)
    }

    /// Returns a word of the list, counted from 0.
    pub(super) fn word(self, in_list: u32) -> WordIndex {
        WordIndex::new(self.0 * LIST_WORDS + in_list)
    }

    /// Returns the number of a word within the list, from 0.
    pub(super) fn place_of(self, word: WordIndex) -> u16 {
        (word.number() % LIST_WORDS) as u16
    }

    /// Returns the number of the summary with the list's bit.
    pub(super) fn summary(self) -> u32 {
        self.0 / SUMMARY
    }

    fn bit(self) -> u64 {
        1 << (self.0 % SUMMARY)
    }

    /// Returns the index of the list's cell: a summary leads every 64.
    fn cell(self) -> usize {
        as_index(self.0 + self.summary() + 1)
    }
}

impl fmt::Display for ListIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}

/// One list, unpacked from its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FreeList {
    pub(super) head: u16,
    pub(super) tail: u16,
    pub(super) free: u16,
    /// One more than the words used since the list was opened; 0 if it is closed.
    opened: u16,
}

impl FreeList {
    fn unpack(bits: u64) -> Self {
        Self {
            head: bits as u16,
            tail: (bits >> 16) as u16,
            free: (bits >> 32) as u16,
            opened: (bits >> 48) as u16,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.head)
            | u64::from(self.tail) << 16
            | u64::from(self.free) << 32
            | u64::from(self.opened) << 48
    }

    /// Makes an open list of which `used` words count as used, and none is listed.
    pub(super) fn open(used: u32) -> Self {
        Self {
            opened: used as u16 + 1,
            ..Self::unpack(0)
        }
    }

    /// Makes a closed list; its words go on with `generation`.
    pub(super) fn closed(generation: u32) -> Self {
        Self::unpack(generation.into())
    }

    /// Returns the generation of a closed list.
    pub(super) fn generation(self) -> u32 {
        self.pack() as u32
    }

    pub(super) fn is_open(self) -> bool {
        self.opened > 0
    }

    /// Returns the number of words that were used since the list was opened.
    pub(super) fn used(self) -> u16 {
        self.opened.saturating_sub(1)
    }

    /// Says whether an open list has a word that was not used since.
    pub(super) fn has_unused(self) -> bool {
        u32::from(self.opened) <= LIST_WORDS
    }

    /// Takes the first word that was not used yet; returns its number, from 0.
    pub(super) fn take_unused(&mut self) -> u32 {
        let used = self.opened - 1;
        self.opened += 1;
        used.into()
    }

    pub(super) fn is_empty(self) -> bool {
        self.free == 0 && !self.has_unused()
    }
}

/// The cells of all lists, and the states of the pages of words: each with its page's first list.
#[derive(Debug)]
pub(super) struct Lists {
    cells: MetaTable<Pair<AtomicU32, Guarded64>>,
    /// The number of lists.
    lists: u32,
    /// Lists of a page.
    page_lists: u32,
}

impl Lists {
    /// Makes the lists of a table of `words` words, all closed.
    pub(super) fn new<B: Backing>(arena: &Arena<B>, words: u32) -> Result<Self, Error> {
        let lists = words.div_ceil(LIST_WORDS);
        let list_bytes = as_index(LIST_WORDS) * size_of::<AtomicU64>();
        Ok(Self {
            cells: arena.reserve_table(as_index(lists + lists.div_ceil(SUMMARY)))?,
            lists,
            page_lists: (arena.granule() / list_bytes).max(1) as u32,
        })
    }

    /// Returns the number of words of a page.
    pub(super) fn page_words(&self) -> usize {
        as_index(self.page_lists * LIST_WORDS)
    }

    /// Returns the lists of a page.
    pub(super) fn of(&self, page: TablePage) -> impl Iterator<Item = ListIndex> + Clone + use<> {
        self.numbers_of(page).map(ListIndex)
    }

    /// Returns the lists of all pages below `end`.
    pub(super) fn below(&self, end: TablePage) -> impl Iterator<Item = ListIndex> + use<> {
        (0..self.numbers_of(end).start).map(ListIndex)
    }

    fn numbers_of(&self, page: TablePage) -> Range<u32> {
        let first = page
            .number()
            .saturating_mul(self.page_lists)
            .min(self.lists);
        first..first.saturating_add(self.page_lists).min(self.lists)
    }

    /// Returns a list. The caller holds the table's lock.
    #[inline]
    pub(super) fn get(&self, list: ListIndex) -> FreeList {
        FreeList::unpack(self.cells.at(list.cell()).1.get())
    }

    /// Stores a list. The caller holds the table's lock.
    #[inline]
    pub(super) fn set(&self, list: ListIndex, free: FreeList) {
        self.cells.at(list.cell()).1.set(free.pack());
    }

    /// Returns the bits of the lists that a summary covers: set for those with a free word.
    #[inline]
    fn summary(&self, summary: u32) -> &Guarded64 {
        &self.cells.at(as_index(summary * (SUMMARY + 1))).1
    }

    /// Returns the lowest list with a free word that some summaries cover.
    pub(super) fn lowest_with_free(&self, mut summaries: Range<u32>) -> Option<ListIndex> {
        let summary = summaries.find(|&summary| self.summary(summary).get() != 0)?;
        let bit = self.summary(summary).get().trailing_zeros();
        Some(ListIndex(summary * SUMMARY + bit))
    }

    /// Notes in its summary whether a list has a free word.
    #[inline]
    pub(super) fn mark(&self, list: ListIndex, has_free: bool) {
        let summary = self.summary(list.summary());
        if has_free {
            summary.set(summary.get() | list.bit());
        } else {
            summary.set(summary.get() & !list.bit());
        }
    }

    /// Says whether a list has a free word, by its summary.
    pub(super) fn has_free(&self, list: ListIndex) -> bool {
        self.summary(list.summary()).get() & list.bit() != 0
    }
}

impl PageStates for Lists {
    fn state(&self, page: TablePage) -> &AtomicU32 {
        &self
            .cells
            .at(ListIndex(page.number() * self.page_lists).cell())
            .0
    }

    fn enter<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> Result<(), Error> {
        let last = ListIndex(self.numbers_of(page).end - 1);
        arena.ensure(&self.cells, last.cell())
    }

    fn leave<B: Backing>(&self, _arena: &Arena<B>, _page: TablePage) -> u64 {
        0
    }

    fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        arena.release_table(core::mem::take(&mut self.cells));
    }

    fn committed_bytes(&self) -> u64 {
        self.cells.committed_bytes()
    }
}
