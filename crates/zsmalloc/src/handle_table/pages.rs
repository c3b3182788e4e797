//! Pages of words: opened when no open one has a free word, closed when they hold no object.

use super::{CLOSED, FreeList, GROUP, HandleTable, ON_ITS_WAY, PAGE_WORDS, State};
use crate::error::Error;
use crate::word::Word;
use core::ops::Range;
use zs_mm::{Arena, BLOCK_BYTES, Backing};
use zs_sync::Ordering;

/// The most pages of a group: the largest granule is a pageblock.
const MAX_GROUP: usize = BLOCK_BYTES / (PAGE_WORDS as usize * size_of::<u64>());

impl HandleTable {
    /// Returns the lowest group of pages that is closed or was never open.
    pub(super) fn lowest_closed(&self, state: &mut State) -> u32 {
        let groups = state.end.div_ceil(self.group);
        let from = if state.closed > 0 {
            state.lowest_closed
        } else {
            groups
        };
        let is_closed = |group: &u32| {
            let first = self.page_cell(group * self.group).get();
            FreeList::unpack(first).fresh == CLOSED
        };
        let lowest = (from..groups).find(is_closed).unwrap_or(groups);
        state.lowest_closed = lowest;
        lowest
    }

    /// Commits a group and opens it, unless somebody else does so; an error if it is beyond the end.
    pub(super) fn open_group<B: Backing>(&self, arena: &Arena<B>, group: u32) -> Result<(), Error> {
        let pages = self.pages_of(group);
        let Some(last) = pages.clone().last() else {
            return Err(Error::NoMemory);
        };
        arena.ensure(&self.pages, (last + last / GROUP + 1) as usize)?;
        if !self.begin_open(arena, group) {
            return Ok(());
        }
        let committed = arena.commit_cells(&self.words, self.cells_of(group));
        self.end_open(arena, group, committed.is_ok());
        Ok(committed?)
    }

    /// Marks a closed group as on its way, so that one thread commits it.
    fn begin_open<B: Backing>(&self, arena: &Arena<B>, group: u32) -> bool {
        let pages = self.pages_of(group);
        let mut state = self.state.lock(arena.host());
        if pages.start == state.end {
            state.end = pages.end;
            state.set_out += 1;
            self.shut(pages, ON_ITS_WAY);
            return true;
        }
        let first = FreeList::unpack(self.page_cell(pages.start).get());
        if pages.start > state.end || first.fresh != CLOSED {
            return false;
        }
        state.closed -= 1;
        state.set_out += 1;
        self.shut(pages, ON_ITS_WAY);
        true
    }

    /// Opens the pages of a group that has memory, all words free; or closes them.
    fn end_open<B: Backing>(&self, arena: &Arena<B>, group: u32, done: bool) {
        let pages = self.pages_of(group);
        if done {
            self.free_all_words(arena, pages.clone());
        }
        let mut state = self.state.lock(arena.host());
        state.arrived += 1;
        if !done {
            self.shut(pages, CLOSED);
            state.closed += 1;
            state.lowest_closed = state.lowest_closed.min(group);
            return;
        }
        for page in pages.clone() {
            let list = FreeList {
                // A short last page begins with the words it lacks already used.
                fresh: (PAGE_WORDS - self.page_len(page)) as u16,
                ..FreeList::unpack(0)
            };
            self.page_cell(page).set(list.pack());
            self.mark(&mut state, page, true);
        }
        let bound = (pages.end * PAGE_WORDS).min(self.words.len() as u32);
        // Relaxed: a bound, see `words`.
        self.bound.fetch_max(bound, Ordering::Relaxed);
    }

    /// Sets the words of pages that are on their way, so this thread's alone, to the generations that
    /// they go on with. With no lock held: there may be thousands.
    fn free_all_words<B: Backing>(&self, arena: &Arena<B>, pages: Range<u32>) {
        for page in pages {
            let list = {
                let _state = self.state.lock(arena.host());
                FreeList::unpack(self.page_cell(page).get())
            };
            let bits = self.layout.place_generation(list.generation());
            for index in page * PAGE_WORDS..page * PAGE_WORDS + self.page_len(page) {
                // Relaxed: nobody else changes them; a read-modify-write, since every change of a
                // word is one.
                let _ = self.words.at(index as usize).swap(bits, Ordering::Relaxed);
            }
        }
    }

    /// Closes every group of pages without an object, and gives its memory back; returns the bytes.
    /// Called with no lock held; looks at every page that was ever open.
    pub(super) fn close_empty<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        let (mut group, mut bytes) = (0, 0);
        while self.begin_close(arena, &mut group) {
            // Refused: the words are as they were or zero, free in either case.
            let gone = arena.decommit_cells(&self.words, self.cells_of(group));
            self.end_open(arena, group, gone == 0);
            bytes += gone;
            group += 1;
        }
        bytes
    }

    /// Finds a group of open pages without an object from `group` on, and marks it as on its way.
    fn begin_close<B: Backing>(&self, arena: &Arena<B>, group: &mut u32) -> bool {
        loop {
            let mut state = self.state.lock(arena.host());
            for _ in 0..GROUP {
                let pages = self.pages_of(*group);
                if pages.start >= state.end {
                    return false;
                }
                let bare = self.generations_if_bare(pages.clone());
                let Some(generations) = bare else {
                    *group += 1;
                    continue;
                };
                for (page, generation) in pages.zip(generations) {
                    // The generation that its words go on with waits in the cell.
                    let list = FreeList::shut(ON_ITS_WAY, generation);
                    self.page_cell(page).set(list.pack());
                    self.mark(&mut state, page, false);
                }
                state.set_out += 1;
                return true;
            }
        }
    }

    /// For each of some pages the generation that all its words can go on with; `None` unless all of
    /// them are open, hold no object and have one.
    fn generations_if_bare(&self, pages: Range<u32>) -> Option<[u32; MAX_GROUP]> {
        let mut generations = [0; MAX_GROUP];
        for (page, generation) in pages.zip(&mut generations) {
            let list = FreeList::unpack(self.page_cell(page).get());
            let missing = PAGE_WORDS - self.page_len(page);
            if !list.is_open() || u32::from(list.fresh) - missing != u32::from(list.free) {
                return None;
            }
            *generation = self.next_generation(page)?;
        }
        Some(generations)
    }

    /// Returns the generation that none of the page's words has reached: the furthest that any of
    /// them would take next. Generations wrap, so "furthest" has a meaning only while they lie
    /// within half the range of each other; `None` if they do not.
    ///
    /// So a word skips less than half the generations when its page is closed, and a stale handle is
    /// refused for at least the other half.
    fn next_generation(&self, page: u32) -> Option<u32> {
        let first = page * PAGE_WORDS;
        let bits = self.layout.generation_bits();
        let half = 1_i64 << (bits - 1);
        let of = |index: u32| {
            // Relaxed: a free word is this table's alone, under its lock.
            let word = Word(self.words.at(index as usize).load(Ordering::Relaxed));
            i64::from(self.layout.generation_of(word))
        };
        let base = of(first);
        let (mut least, mut most) = (0, 0);
        for index in first..first + self.page_len(page) {
            let ahead = (of(index) - base + half).rem_euclid(2 * half) - half;
            (least, most) = (least.min(ahead), most.max(ahead));
        }
        (most - least < half).then(|| (base + most).rem_euclid(2 * half) as u32)
    }

    fn shut(&self, pages: Range<u32>, fresh: u16) {
        for page in pages {
            let generation = FreeList::unpack(self.page_cell(page).get()).generation();
            self.page_cell(page)
                .set(FreeList::shut(fresh, generation).pack());
        }
    }

    fn pages_of(&self, group: u32) -> Range<u32> {
        let pages = (self.words.len() as u32).div_ceil(PAGE_WORDS);
        let first = (group * self.group).min(pages);
        first..(first + self.group).min(pages)
    }

    fn cells_of(&self, group: u32) -> Range<usize> {
        let pages = self.pages_of(group);
        let end = (pages.end as usize * PAGE_WORDS as usize).min(self.words.len());
        pages.start as usize * PAGE_WORDS as usize..end
    }
}
