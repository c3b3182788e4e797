//! Whether a handle table adds up.

use super::{FreeList, HandleTable, LIST_WORDS, ListIndex};
use crate::ids::WordIndex;
use crate::word::{State, Word};
use zs_mm::{Arena, Backing};
use zs_sync::Ordering;

impl HandleTable {
    /// Checks every list, the summaries and the counters; no other thread is at work.
    pub(super) fn check<B: Backing>(&self, arena: &Arena<B>) -> Result<(), &'static str> {
        let (end, lowest) = {
            let state = self.state.lock(arena.host());
            (state.pages.end(), state.lowest_summary)
        };
        if self.lists().lowest_with_free(0..lowest).is_some() {
            return Err("a list below the lowest has a free word");
        }
        for list in self.lists().below(end) {
            let free = self.lists().get(list);
            let page = self.words.page_of(list.word(0).index());
            if free.is_open() != self.words.is_open(page) {
                return Err("a list is open without its page, or its page without it");
            }
            if self.words.holds(page) != 0 {
                return Err("a page of words never ended its way");
            }
            if free.is_open() {
                self.check_open(list, free)?;
            } else {
                self.check_closed(list)?;
            }
        }
        Ok(())
    }

    fn state_of(&self, word: WordIndex) -> Option<State> {
        let cell = self.words.cells().get(word.index())?;
        // Relaxed: nobody else is at work.
        Some(Word(cell.load(Ordering::Relaxed)).state())
    }

    /// Checks that a closed list shows no object, and that nobody takes a word of it.
    fn check_closed(&self, list: ListIndex) -> Result<(), &'static str> {
        if self.lists().has_free(list) {
            return Err("a closed list is said to have free words");
        }
        let mut words = (0..self.list_len(list)).map(|in_list| list.word(in_list));
        if words.any(|word| self.state_of(word) != Some(State::Free)) {
            return Err("a closed list has a word in use");
        }
        Ok(())
    }

    /// Checks that a list holds each of its free words once, and that the summary knows.
    fn check_open(&self, list: ListIndex, free: FreeList) -> Result<(), &'static str> {
        let mut listed = [0_u64; LIST_WORDS as usize / 64];
        let (mut next, mut last) = (free.head, 0);
        for _ in 0..free.free {
            let Some(in_list) = next.checked_sub(1) else {
                return Err("a list of free words is shorter than its count");
            };
            let state = self.state_of(list.word(u32::from(in_list)));
            let (group, bit) = (usize::from(in_list) / 64, 1 << (in_list % 64));
            if state != Some(State::Free) || listed[group] & bit != 0 {
                return Err("a listed word is not free, or listed twice");
            }
            listed[group] |= bit;
            (next, last) = (self.next_of(list, next), next);
        }
        let has_place = |&in_list: &u32| {
            let cell = self.words.cells().at(list.word(in_list).index());
            Word(cell.load(Ordering::Relaxed)).has_place()
        };
        let lacking = LIST_WORDS - self.list_len(list);
        let live = (0..self.list_len(list)).filter(has_place).count() as u32;
        if u32::from(free.used()) - lacking != live + u32::from(free.free) {
            return Err("words that were handed out are neither in use nor listed as free");
        }
        if self.lists().has_free(list) == free.is_empty() {
            return Err("a list's summary bit is wrong");
        }
        if free.free > 0 && (next != 0 || last != free.tail) {
            return Err("a list does not end at its tail");
        }
        Ok(())
    }
}
