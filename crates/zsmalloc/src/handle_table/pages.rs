//! Pages of words: opened when no open list has a free word, closed when they hold no object.

use super::{FreeList, HandleTable, LIST_WORDS, ListIndex};
use crate::ids::WordIndex;
use crate::word::Word;
use zs_mm::{Arena, BLOCK_BYTES, Backing, Error, TablePage};
use zs_sync::Ordering;

/// The most lists of a page: the largest granule is a pageblock.
const MAX_LISTS: usize = BLOCK_BYTES / (LIST_WORDS as usize * size_of::<u64>());
/// Pages looked at in one hold of the lock.
const LOOKS: u32 = 64;

impl HandleTable {
    /// Opens a page, unless another thread does so; an error if it is beyond the end.
    pub(super) fn open_page<B: Backing>(
        &self,
        arena: &Arena<B>,
        page: TablePage,
    ) -> Result<(), Error> {
        if page.number() >= self.words.pages() {
            return Err(Error::NoMemory);
        }
        let _way = self.transit.depart();
        match self.words.open(arena, page) {
            Ok(true) => {
                self.words.leave(page, 1);
                self.open_lists(arena, page);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                self.state.lock(arena.host()).pages.note_closed(page);
                Err(error)
            }
        }
    }

    /// Opens the lists of a page that has memory and no object: all words are free.
    fn open_lists<B: Backing>(&self, arena: &Arena<B>, page: TablePage) {
        self.free_all_words(arena, page);
        let mut state = self.state.lock(arena.host());
        for list in self.lists().of(page) {
            // A short last list begins with the words it lacks already used.
            let lacking = LIST_WORDS - self.list_len(list);
            self.lists().set(list, FreeList::open(lacking));
            self.mark(&mut state, list, true);
            state.summaries = state.summaries.max(list.summary() + 1);
        }
        let bound = self.words.cells_of(page).end as u32;
        // Relaxed: a bound, see `words`.
        self.bound.fetch_max(bound, Ordering::Relaxed);
    }

    /// Sets the words of a page whose lists are closed, so this thread's alone, to the generations
    /// that they go on with. With no lock held: there may be thousands.
    fn free_all_words<B: Backing>(&self, arena: &Arena<B>, page: TablePage) {
        for list in self.lists().of(page) {
            let closed = {
                let _state = self.state.lock(arena.host());
                self.lists().get(list)
            };
            let bits = self.layout.place_generation(closed.generation());
            for in_list in 0..self.list_len(list) {
                let word = self.words.cells().at(list.word(in_list).index());
                // Relaxed: nobody else changes them; a read-modify-write, since every change of a
                // word is one.
                let _ = word.swap(bits, Ordering::Relaxed);
            }
        }
    }

    /// Closes every page without an object, and gives its memory back; returns the bytes.
    /// Called with no lock held; looks at every list that was ever open.
    pub(super) fn close_empty<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        let (mut page, mut bytes) = (TablePage::default(), 0);
        loop {
            let way = self.transit.depart();
            if !self.close_lists(arena, &mut page) {
                return bytes;
            }
            let gone = self.words.close_if_empty(arena, page);
            if gone == 0 {
                // Refused: the words are as they were or zero, free in either case.
                self.open_lists(arena, page);
            } else {
                self.state.lock(arena.host()).pages.note_closed(page);
            }
            drop(way);
            bytes += gone;
            page = page.next();
        }
    }

    /// Finds an open page without an object from `page` on, and closes its lists, so that nobody
    /// takes a word of it.
    fn close_lists<B: Backing>(&self, arena: &Arena<B>, page: &mut TablePage) -> bool {
        loop {
            let mut state = self.state.lock(arena.host());
            for _ in 0..LOOKS {
                if *page >= state.pages.end() {
                    return false;
                }
                let Some(generations) = self.generations_if_bare(*page) else {
                    *page = page.next();
                    continue;
                };
                for (list, generation) in self.lists().of(*page).zip(generations) {
                    self.lists().set(list, FreeList::closed(generation));
                    self.mark(&mut state, list, false);
                }
                return true;
            }
        }
    }

    /// For each list of a page the generation that all its words can go on with; `None` unless all
    /// of them are open, hold no object and have one.
    fn generations_if_bare(&self, page: TablePage) -> Option<[u32; MAX_LISTS]> {
        let mut generations = [0; MAX_LISTS];
        for (list, generation) in self.lists().of(page).zip(&mut generations) {
            let free = self.lists().get(list);
            let lacking = LIST_WORDS - self.list_len(list);
            if !free.is_open() || u32::from(free.used()) - lacking != u32::from(free.free) {
                return None;
            }
            *generation = self.next_generation(list)?;
        }
        Some(generations)
    }

    /// Returns the generation that none of the list's words has reached: the furthest that any of
    /// them would take next. Generations wrap, so "furthest" has a meaning only while they lie
    /// within half the range of each other; `None` if they do not.
    ///
    /// So a word skips less than half the generations when its list is closed, and a stale handle
    /// is refused for at least the other half.
    fn next_generation(&self, list: ListIndex) -> Option<u32> {
        let bits = self.layout.generation_bits();
        let half = 1_i64 << (bits - 1);
        let of = |word: WordIndex| {
            // Relaxed: a free word is this table's alone, under its lock.
            let word = Word(self.words.cells().at(word.index()).load(Ordering::Relaxed));
            i64::from(self.layout.generation_of(word))
        };
        let base = of(list.word(0));
        let (mut least, mut most) = (0, 0);
        for in_list in 0..self.list_len(list) {
            let ahead = (of(list.word(in_list)) - base + half).rem_euclid(2 * half) - half;
            (least, most) = (least.min(ahead), most.max(ahead));
        }
        (most - least < half).then(|| (base + most).rem_euclid(2 * half) as u32)
    }
}
