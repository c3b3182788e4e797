//! Whether a handle table adds up.

use super::{FreeList, HandleTable, ON_ITS_WAY, PAGE_WORDS};
use crate::word::{State, Word};
use zs_mm::{Arena, Backing};
use zs_sync::Ordering;

impl HandleTable {
    /// Checks every page, the summary and the counters; no other thread is at work.
    pub(super) fn check<B: Backing>(&self, arena: &Arena<B>) -> Result<(), &'static str> {
        let (end, closed, lowest_group) = {
            let state = self.state.lock(arena.host());
            (state.end, state.closed, state.lowest_group)
        };
        if (0..lowest_group).any(|group| self.summary_cell(group).get() != 0) {
            return Err("a group below the lowest has a free word");
        }
        let mut shut = 0;
        for page in 0..end {
            let list = FreeList::unpack(self.page_cell(page).get());
            if list.is_open() {
                self.check_page(page)?;
            } else {
                self.check_shut_page(page, list)?;
                shut += u32::from(page.is_multiple_of(self.group));
            }
        }
        if closed != shut {
            return Err("closed pages of words are miscounted");
        }
        Ok(())
    }

    /// Checks that a closed page shows no object, and that nobody takes a word of it.
    fn check_shut_page(&self, page: u32, list: FreeList) -> Result<(), &'static str> {
        if list.fresh == ON_ITS_WAY {
            return Err("a page of words never ended its way");
        }
        if self.has_free_words(page) {
            return Err("a closed page is said to have free words");
        }
        let mut words = page * PAGE_WORDS..page * PAGE_WORDS + self.page_len(page);
        // Relaxed: nobody else is at work.
        let state =
            |index: u32| Word(self.words.at(index as usize).load(Ordering::Relaxed)).state();
        if words.any(|index| state(index) != State::Free) {
            return Err("a closed page has a word in use");
        }
        Ok(())
    }

    /// Checks that a page's list holds each of its free words once, and that the summary knows.
    fn check_page(&self, page: u32) -> Result<(), &'static str> {
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
            if state != Some(State::Free) || listed[group] & bit != 0 {
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
        if self.has_free_words(page) == list.is_empty() {
            return Err("a page's summary bit is wrong");
        }
        if list.free > 0 && (next != 0 || last != list.tail) {
            return Err("a page's list does not end at its tail");
        }
        Ok(())
    }
}
