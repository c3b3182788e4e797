//! Which units of the backing are taken: a bit each, and above them a bit for each 64 that are all
//! taken.
//!
//! units wanted -> words from where the last search ended -> the first run that is long enough. A
//! search looks at so many words and no more before it lets others have the lock, and then goes on.
//! Each look moves it on, so that it ends: after the last unit it begins again from the first, and
//! ends where it began.
//!
//! extent freed -> its pages that hold nothing else are dead -> taken by whoever punches a hole
//! there -> put back.

use super::dead::{DeadPages, PAGE_UNITS};
use crate::block::content::{Extent, UNIT};
use crate::ids::as_index;
use crate::ids::wide;
use std::ops::Range;

/// The most bytes that a backing may have: 512 GiB, of which the last unit is not used.
pub(crate) const MOST_BYTES: u64 = (UNIT as u64) << 32;

/// Looks in one go: some microseconds.
const LOOKS: u32 = 1024;

/// The most pages that become a hole at once: 4 MiB.
const HOLE_PAGES: u32 = 1024;

#[derive(Debug, Default)]
pub(crate) struct Extents {
    /// What lies behind the last unit is taken.
    bits: Vec<u64>,
    full: Vec<u64>,
    dead: DeadPages,
    units: u32,
    /// Units of extents.
    used: u32,
    /// The unit at which the next search begins.
    hint: u32,
    /// No run of so many units is free.
    missing: u32,
    /// Extents that were freed so far.
    freed: u64,
}

/// The progress of a search: from the hint to the end, and then from the start to the hint.
#[derive(Debug)]
pub(crate) struct Search {
    units: u32,
    at: u32,
    /// The unit at which it began; once it has begun again from the start, it ends there.
    first: u32,
    again: bool,
    freed: u64,
}

/// The state of a search after one go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Run(u32),
    Nowhere,
    GoOn,
}

impl Extents {
    fn words(units: u32) -> (usize, usize) {
        let words = as_index(units.div_ceil(64));
        (words, words.div_ceil(64))
    }

    /// Returns the number of bytes of memory that so many units need.
    pub(crate) fn bytes_for(units: u32) -> u64 {
        let (words, groups) = Self::words(units);
        wide(words + groups) * 8 + DeadPages::bytes_for(units / PAGE_UNITS + 1)
    }

    /// Returns all free; `None` if there is no memory for the bits.
    pub(crate) fn new(units: u32) -> Option<Self> {
        let (words, groups) = Self::words(units);
        let mut all = [Vec::new(), Vec::new()];
        for ((bits, words), used) in all
            .iter_mut()
            .zip([words, groups])
            .zip([units, words as u32])
        {
            bits.try_reserve_exact(words).ok()?;
            bits.resize(words, 0);
            if let (Some(last), 1..) = (bits.last_mut(), used % 64) {
                *last = u64::MAX << (used % 64);
            }
        }
        let [bits, full] = all;
        Some(Self {
            bits,
            full,
            dead: DeadPages::new(units / PAGE_UNITS + 1)?,
            units,
            missing: u32::MAX,
            ..Self::default()
        })
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    /// Says whether not one unit is free.
    pub(crate) fn is_full(&self) -> bool {
        self.used == self.units
    }

    fn mark(&mut self, start: u32, units: u32, taken: bool) {
        let (mut at, end) = (start, start + units);
        while at < end {
            let index = as_index(at) / 64;
            let here = (64 - at % 64).min(end - at);
            let mask = (u64::MAX >> (64 - here)) << (at % 64);
            let word = &mut self.bits[index];
            debug_assert_eq!(
                *word & mask,
                if taken { 0 } else { mask },
                "taken once, freed once"
            );
            *word ^= mask;
            let group = 1 << (index % 64);
            if *word == u64::MAX {
                self.full[index / 64] |= group;
            } else {
                self.full[index / 64] &= !group;
            }
            at += here;
        }
    }

    /// Returns a search for `units` neighbouring units: the next after those that were taken last,
    /// or the first.
    pub(crate) fn search(&self, units: u16) -> Search {
        Search {
            units: units.into(),
            at: self.hint,
            first: self.hint,
            again: false,
            freed: self.freed,
        }
    }

    /// Goes on with a search, and takes what it finds.
    pub(crate) fn take(&mut self, search: &mut Search) -> Found {
        if search.units >= self.missing {
            return Found::Nowhere;
        }
        for _ in 0..LOOKS {
            let end = if search.again {
                search.first
            } else {
                self.units
            };
            if search.at < end {
                if let Some(start) = self.look(search) {
                    self.take_run(start, search.units);
                    return Found::Run(start);
                }
            } else if search.again {
                // Only if nothing came free behind the search's back.
                if search.freed == self.freed {
                    self.missing = search.units;
                }
                return Found::Nowhere;
            } else {
                (search.at, search.again) = (0, true);
            }
        }
        Found::GoOn
    }

    fn take_run(&mut self, start: u32, units: u32) {
        self.mark(start, units, true);
        for page in pages_of(start, units) {
            self.dead.remove(page);
        }
        self.used += units;
        self.hint = start + units;
    }

    /// One look, which moves the search on: the run where it is then, if that is long enough.
    fn look(&self, search: &mut Search) -> Option<u32> {
        let free = !self.bits[as_index(search.at) / 64] >> (search.at % 64);
        if free == 0 {
            search.at = self.behind_full(search.at / 64 + 1);
            return None;
        }
        let start = search.at + free.trailing_zeros();
        let run = self.free_from(start, search.units);
        search.at = start + run;
        // A run that begins where the search did was seen when it began.
        let is_new = !search.again || start < search.first;
        (run == search.units && is_new).then_some(start)
    }

    /// Returns the unit where the full words from this one on end; at the latest where its 64 words
    /// do.
    fn behind_full(&self, word: u32) -> u32 {
        let (group, at) = (as_index(word) / 64, word % 64);
        let open = self.full.get(group).map_or(0, |full| !full >> at);
        let full = if open == 0 {
            64 - at
        } else {
            open.trailing_zeros()
        };
        // Behind the last unit there may be as many words as that.
        (word + full).saturating_mul(64)
    }

    /// Returns the number of free units from `at` on, at most so many.
    fn free_from(&self, at: u32, most: u32) -> u32 {
        let mut run = 0;
        while run < most && (at + run) < self.units {
            let unit = at + run;
            let free = (self.bits[as_index(unit) / 64] >> (unit % 64)).trailing_zeros();
            let here = free.min(64 - unit % 64);
            run += here;
            if here < 64 - unit % 64 {
                break;
            }
        }
        run.min(most)
    }

    /// Returns the number of free units that end before `at`, at most so many.
    fn free_before(&self, at: u32, most: u32) -> u32 {
        let mut run = 0;
        while run < most && run < at {
            let last = at - run - 1;
            let free = (self.bits[as_index(last) / 64] << (63 - last % 64)).leading_zeros();
            let here = free.min(last % 64 + 1);
            run += here;
            if here < last % 64 + 1 {
                break;
            }
        }
        run.min(most)
    }

    pub(crate) fn free(&mut self, extent: Extent) {
        let units = u32::from(extent.units);
        self.used -= units;
        self.release(extent.start, units);
        for page in pages_of(extent.start, units) {
            if self.free_from(page * PAGE_UNITS, PAGE_UNITS) == PAGE_UNITS {
                self.dead.insert(page);
            }
        }
    }

    /// Takes dead pages for a hole, as units. They belong to nobody until they are [put
    /// back](Self::put_back).
    pub(crate) fn take_dead(&mut self) -> Option<Range<u32>> {
        let pages = self.dead.take(HOLE_PAGES)?;
        let units = pages.start * PAGE_UNITS..pages.end * PAGE_UNITS;
        self.withhold(units.clone());
        Some(units)
    }

    /// Takes free units for nobody, until they are [put back](Self::put_back): of those that there
    /// are.
    pub(crate) fn withhold(&mut self, units: Range<u32>) {
        let units = self.clamped(units);
        self.mark(units.start, units.end - units.start, true);
    }

    /// Frees units that were withheld.
    pub(crate) fn put_back(&mut self, units: Range<u32>) {
        let units = self.clamped(units);
        if !units.is_empty() {
            self.release(units.start, units.end - units.start);
        }
    }

    /// Returns the part of a range that lies before the end: a file may be used in part.
    fn clamped(&self, units: Range<u32>) -> Range<u32> {
        units.start.min(self.units)..units.end.min(self.units)
    }

    fn release(&mut self, start: u32, units: u32) {
        self.mark(start, units, false);
        self.freed += 1;
        if self.missing < u32::MAX {
            // No longer one than the one that has just come about is free: others have not changed.
            let most = u32::from(u16::MAX);
            let before = self.free_before(start, most);
            let run = before + units + self.free_from(start + units, most);
            self.missing = self.missing.max(run + 1);
        }
    }
}

/// Returns the pages that some units touch.
fn pages_of(start: u32, units: u32) -> Range<u32> {
    start / PAGE_UNITS..(start + units).div_ceil(PAGE_UNITS)
}

#[cfg(test)]
mod tests;
