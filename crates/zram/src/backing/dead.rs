//! Which pages of the backing hold nothing any more but still take space there.
//!
//! A page is [`PAGE_UNITS`] units. It is dead from the moment its last record is freed until it is
//! taken for a hole, or written again. A bit for each page, and above them a bit for each 64 of
//! which any is dead.

use crate::ids::as_index;
use crate::ids::wide;
use std::ops::Range;

/// Units of a page: 4 KiB, what file systems give back.
pub(crate) const PAGE_UNITS: u32 = 32;

#[derive(Debug, Default)]
pub(crate) struct DeadPages {
    pages: Vec<u64>,
    any: Vec<u64>,
}

impl DeadPages {
    fn words(pages: u32) -> (usize, usize) {
        let words = as_index(pages.div_ceil(64));
        (words, words.div_ceil(64))
    }

    /// Returns the number of bytes of memory that so many pages need.
    pub(crate) fn bytes_for(pages: u32) -> u64 {
        let (words, groups) = Self::words(pages);
        wide(words + groups) * 8
    }

    /// None dead; `None` if there is no memory.
    pub(crate) fn new(pages: u32) -> Option<Self> {
        let (words, groups) = Self::words(pages);
        let zeros = |len| {
            let mut bits = Vec::new();
            bits.try_reserve_exact(len).ok()?;
            bits.resize(len, 0);
            Some(bits)
        };
        Some(Self {
            pages: zeros(words)?,
            any: zeros(groups)?,
        })
    }

    pub(crate) fn insert(&mut self, page: u32) {
        let word = as_index(page) / 64;
        self.pages[word] |= 1 << (page % 64);
        self.any[word / 64] |= 1 << (word % 64);
    }

    pub(crate) fn remove(&mut self, page: u32) {
        let word = as_index(page) / 64;
        self.pages[word] &= !(1 << (page % 64));
        if self.pages[word] == 0 {
            self.any[word / 64] &= !(1 << (word % 64));
        }
    }

    fn contains(&self, page: u32) -> bool {
        let word = self.pages.get(as_index(page) / 64);
        word.is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// Takes the first dead pages in a row, at most so many.
    pub(crate) fn take(&mut self, most: u32) -> Option<Range<u32>> {
        let group = self.any.iter().position(|any| *any != 0)?;
        let word = group * 64 + as_index(self.any[group].trailing_zeros());
        let first = word as u32 * 64 + self.pages[word].trailing_zeros();
        let mut end = first;
        while end - first < most && self.contains(end) {
            self.remove(end);
            end += 1;
        }
        Some(first..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_pages_are_taken_once_in_runs() {
        let mut dead = DeadPages::new(64 * 64 + 100).expect("memory");
        assert_eq!(dead.take(9), None);
        let runs = [3..5, 60..70, 64 * 64 - 1..64 * 64 + 2];
        for page in runs.iter().cloned().flatten() {
            dead.insert(page);
        }
        dead.insert(1000);
        dead.remove(1000);
        assert_eq!(dead.take(9), Some(3..5));
        assert_eq!(dead.take(9), Some(60..69));
        assert_eq!(dead.take(9), Some(69..70));
        assert_eq!(dead.take(9), Some(runs[2].clone()));
        assert_eq!(dead.take(9), None);
    }
}
