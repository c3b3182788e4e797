//! Memory for zspage records: runs of units, the lowest first.
//!
//! A page of records has 64 units, and so one 64-bit set of the units in use; the sets lie in a table
//! of their own. Pages are opened in order, so a fresh pool's ids are small and its table is dense.
//!
//! # Locking
//!
//! One leaf lock (`Records`), taken with no class lock held; a page is committed before it is opened,
//! with no lock held.

use crate::geometry::{MAX_CHAIN, MAX_SLOTS};
use crate::record::UNIT_CELLS;
use zs_mm::{Arena, Backing, Error, MetaTable};
use zs_sync::{Dual32, Guarded64, Host, Mutex, Rank};

/// Units of a page of records; the bits of its set that are used. Models make do with fewer.
pub(crate) const PAGE_UNITS: usize = if cfg!(zs_loom) { 8 } else { 64 };
const PAGE_SET: u64 = u64::MAX >> (64 - PAGE_UNITS);
/// The most units of one record.
const MAX_UNITS: usize = (11 + MAX_CHAIN + MAX_SLOTS).div_ceil(UNIT_CELLS);

/// The units of one pool's record table.
#[derive(Debug)]
pub(crate) struct RecordAlloc {
    used: MetaTable<Guarded64>,
    pages: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Pages below this one are open.
    opened: usize,
    /// No page below `lowest[n]` has a run of `n` free units.
    lowest: [u32; MAX_UNITS + 1],
}

impl RecordAlloc {
    /// An allocator of `units` units, their sets in `used`.
    pub(crate) fn new(used: MetaTable<Guarded64>, units: usize) -> Self {
        Self {
            used,
            pages: units / PAGE_UNITS,
            state: Mutex::new(
                Rank::Records,
                State {
                    opened: 0,
                    lowest: [0; MAX_UNITS + 1],
                },
            ),
        }
    }

    pub(crate) fn sets(units: usize) -> usize {
        units / PAGE_UNITS
    }

    pub(crate) fn take_table(&mut self) -> MetaTable<Guarded64> {
        core::mem::take(&mut self.used)
    }

    pub(crate) fn committed_bytes(&self) -> u64 {
        self.used.committed_bytes()
    }

    /// Allocates a run of `units` units of committed, zeroed record memory; returns the first.
    ///
    /// Called with no lock held: it may commit memory.
    pub(crate) fn alloc<B: Backing>(
        &self,
        arena: &Arena<B>,
        cells: &MetaTable<Dual32>,
        units: usize,
    ) -> Result<u32, Error> {
        loop {
            let page = match self.find(arena.host(), units) {
                Ok(first) => return Ok(first),
                Err(page) => page,
            };
            if page == self.pages {
                return Err(Error::NoMemory);
            }
            arena.ensure(&self.used, page)?;
            arena.ensure(cells, (page + 1) * PAGE_UNITS * UNIT_CELLS - 1)?;
            let mut state = self.state.lock(arena.host());
            // Somebody else may have opened it meanwhile; then there is room in it.
            if state.opened == page {
                state.opened = page + 1;
            }
        }
    }

    /// Takes the lowest run of free units of an open page, or names the page to open.
    fn find(&self, host: &dyn Host, units: usize) -> Result<u32, usize> {
        let mut state = self.state.lock(host);
        for page in state.lowest[units] as usize..state.opened {
            let set = self.used.at(page);
            if let Some(first) = lowest_run(!set.get() & PAGE_SET, units) {
                set.set(set.get() | run(first, units));
                state.lowest[units] = page as u32;
                return Ok((page * PAGE_UNITS + first) as u32);
            }
        }
        state.lowest[units] = state.opened as u32;
        Err(state.opened)
    }

    /// Frees a run. Its cells are zero again.
    pub(crate) fn free(&self, host: &dyn Host, first: u32, units: usize) {
        let page = first / PAGE_UNITS as u32;
        let mut state = self.state.lock(host);
        let set = self.used.at(page as usize);
        let bits = run(first as usize % PAGE_UNITS, units);
        debug_assert_eq!(set.get() & bits, bits, "a used run is freed");
        set.set(set.get() & !bits);
        // Only for the runs that this page has now: the others' searches need not begin here.
        let free = !set.get() & PAGE_SET;
        for units in (1..=MAX_UNITS).take_while(|&units| lowest_run(free, units).is_some()) {
            state.lowest[units] = state.lowest[units].min(page);
        }
    }

    /// Whether all of a run is in use.
    pub(crate) fn is_in_use(&self, first: u32, units: usize) -> bool {
        let bits = run(first as usize % PAGE_UNITS, units);
        let set = self.used.get(first as usize / PAGE_UNITS);
        set.is_some_and(|set| set.get() & bits == bits)
    }

    /// Units in use.
    pub(crate) fn in_use(&self, host: &dyn Host) -> u64 {
        let state = self.state.lock(host);
        (0..state.opened)
            .map(|page| u64::from(self.used.at(page).get().count_ones()))
            .sum()
    }

    /// Whether no page below the recorded lowest has a run of that length.
    pub(crate) fn lowest_are_lowest(&self, host: &dyn Host) -> bool {
        let state = self.state.lock(host);
        (1..=MAX_UNITS).all(|units| {
            (0..state.lowest[units] as usize)
                .all(|page| lowest_run(!self.used.at(page).get() & PAGE_SET, units).is_none())
        })
    }
}

/// `units` bits from `first`.
fn run(first: usize, units: usize) -> u64 {
    ((1 << units) - 1) << first
}

/// The lowest run of `units` set bits.
fn lowest_run(free: u64, units: usize) -> Option<usize> {
    let starts = (1..units).fold(free, |starts, shift| starts & free >> shift);
    (starts != 0).then(|| starts.trailing_zeros() as usize)
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_run_is_found() {
        assert_eq!(lowest_run(u64::MAX, 10), Some(0));
        assert_eq!(lowest_run(0b0111_0110, 3), Some(4));
        assert_eq!(lowest_run(0b0111_0110, 4), None);
        assert_eq!(lowest_run(1 << 63, 1), Some(63));
        assert_eq!(
            lowest_run(3 << 62, 3),
            None,
            "a run does not leave its page"
        );
        assert_eq!(run(54, 10), 0xffc0_0000_0000_0000);
    }
}
