//! Memory for zspage records: runs of units, the lowest first.
//!
//! 64 neighbouring units are a set. Each set has a 64-bit cell, one bit for each free unit; the
//! cells lie in a table of their own. Runs are taken from the lowest set that has one and pages of
//! the record table are opened lowest first, so that ids are small and the upper pages empty; empty
//! pages are closed, and their memory given back, on demand. A closed page's sets are 0: no run is
//! found in them.
//!
//! # Locking
//!
//! One leaf lock (`Records`), taken with no class lock held. A page's sets are filled after its
//! memory is there, and emptied before it goes; both happen under the lock, the memory comes and
//! goes with no lock held. So nobody takes a unit of a page on its way.

use crate::geometry::{MAX_CHAIN, MAX_SLOTS};
use crate::ids::ZspageId;
use crate::ids::as_index;
use crate::ids::wide;
use core::ops::Range;
use zs_mm::{
    Arena, Backing, Error, MetaTable, OpenedPages, PageStates, PagedTable, TablePage, Transit,
};
use zs_sync::{AtomicU32, Dual32, Guarded64, Host, LockName, Mutex, Pair};

/// 32-bit cells of a unit.
pub(crate) const UNIT_CELLS: usize = 16;
/// Units of a set; the bits of its cell that are used. Models make do with fewer.
pub(crate) const SET_UNITS: usize = if cfg!(zs_loom) { 8 } else { 64 };
const ALL_FREE: u64 = u64::MAX >> (64 - SET_UNITS);
const UNIT_BYTES: usize = UNIT_CELLS * size_of::<u32>();
/// The most units of one record.
const MAX_UNITS: usize = (12 + MAX_CHAIN + MAX_SLOTS).div_ceil(UNIT_CELLS);
/// Pages with less than this part of their units in use are worth closing.
const SPARSE: usize = 3;

/// The units of one pool's record table.
#[derive(Debug)]
pub(crate) struct RecordAlloc {
    table: PagedTable<Dual32, FreeSets>,
    transit: Transit,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pages: OpenedPages,
    /// Units in use.
    in_use: usize,
    /// No set below `lowest[n]` has a run of `n` free units.
    lowest: [u32; MAX_UNITS + 1],
}

/// The free units of each set. With the first set of a page of the record table lies the page's
/// state.
#[derive(Debug)]
struct FreeSets {
    cells: MetaTable<Pair<AtomicU32, Guarded64>>,
    /// Sets of a page.
    page_sets: usize,
}

impl FreeSets {
    /// Returns the free units of a set.
    fn of(&self, set: usize) -> &Guarded64 {
        &self.cells.at(set).1
    }

    fn sets_of(&self, page: TablePage) -> Range<usize> {
        let first = (page.index() * self.page_sets).min(self.cells.len());
        first..(first + self.page_sets).min(self.cells.len())
    }
}

impl PageStates for FreeSets {
    fn state(&self, page: TablePage) -> &AtomicU32 {
        &self.cells.at(page.index() * self.page_sets).0
    }

    fn enter<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> Result<(), Error> {
        arena.ensure(&self.cells, self.sets_of(page).end - 1)
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

impl RecordAlloc {
    /// Makes an allocator of `units` units (a power of two), of which nothing is open.
    pub(crate) fn new<B: Backing>(arena: &Arena<B>, units: usize) -> Result<Self, Error> {
        let page_sets = (arena.granule() / (SET_UNITS * UNIT_BYTES)).max(1);
        let sets = FreeSets {
            cells: arena.reserve_table(units / SET_UNITS)?,
            page_sets,
        };
        let page_cells = page_sets * SET_UNITS * UNIT_CELLS;
        let state = State {
            pages: OpenedPages::default(),
            in_use: 0,
            lowest: [0; MAX_UNITS + 1],
        };
        Ok(Self {
            table: PagedTable::new(arena, units * UNIT_CELLS, page_cells, sets)?,
            transit: Transit::default(),
            state: Mutex::new(LockName::Records, state),
        })
    }

    /// Gives the tables back to the arena; nothing of them is used any more.
    pub(crate) fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        self.table.release(arena);
    }

    /// Returns the cells of all units.
    #[inline]
    pub(crate) fn cells(&self) -> &MetaTable<Dual32> {
        self.table.cells()
    }

    /// Returns the number of bytes that are committed.
    pub(crate) fn committed_bytes(&self) -> u64 {
        self.table.committed_bytes()
    }

    /// Allocates a run of `units` units of committed, zeroed record memory; returns the first.
    ///
    /// Called with no lock held: it may commit memory, and waits for pages that other threads are
    /// opening or closing if there is no other room.
    pub(crate) fn alloc<B: Backing>(
        &self,
        arena: &Arena<B>,
        units: usize,
    ) -> Result<ZspageId, Error> {
        let host = arena.host();
        self.transit.take_or_open(
            host,
            || self.find(host, units),
            |page| self.open_page(arena, page),
        )
    }

    /// Opens a page, unless another thread does so; an error if it is beyond the end.
    fn open_page<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> Result<(), Error> {
        if page.number() >= self.table.pages() {
            return Err(Error::NoMemory);
        }
        let _way = self.transit.depart();
        match self.table.open(arena, page) {
            Ok(true) => {
                self.table.leave(page, 1);
                self.fill_sets(arena.host(), page);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                self.state.lock(arena.host()).pages.note_closed(page);
                Err(error)
            }
        }
    }

    /// Takes the lowest run of free units of an open page, or names the page to open.
    fn find(&self, host: &dyn Host, units: usize) -> Result<ZspageId, TablePage> {
        let mut state = self.state.lock(host);
        let end = self.sets_below(state.pages.end());
        for set in as_index(state.lowest[units])..end {
            let cell = self.free_units(set);
            if let Some(first) = lowest_run(cell.get(), units) {
                cell.set(cell.get() & !run(first, units));
                state.in_use += units;
                state.lowest[units] = set as u32;
                return Ok(ZspageId::of_unit(set * SET_UNITS + first));
            }
        }
        state.lowest[units] = end as u32;
        Err(state.pages.next_to_open(&self.table))
    }

    /// Takes the lowest run of free units if it lies in a lower set than unit `above`, of pages
    /// that are open.
    pub(crate) fn alloc_below(
        &self,
        host: &dyn Host,
        units: usize,
        above: ZspageId,
    ) -> Option<ZspageId> {
        let first = self.find(host, units).ok()?;
        let lower = first.index() / SET_UNITS < above.index() / SET_UNITS;
        if !lower {
            self.free(host, first, units);
        }
        lower.then_some(first)
    }

    /// Fills the sets of a page that has memory and no unit in use.
    fn fill_sets(&self, host: &dyn Host, page: TablePage) {
        let sets = self.table.states().sets_of(page);
        let mut state = self.state.lock(host);
        for lowest in &mut state.lowest {
            *lowest = (*lowest).min(sets.start as u32);
        }
        sets.for_each(|set| self.free_units(set).set(ALL_FREE));
    }

    /// Frees a run. Its cells are zero again.
    pub(crate) fn free(&self, host: &dyn Host, first: ZspageId, units: usize) {
        let set = first.index() / SET_UNITS;
        let bits = run(first.index() % SET_UNITS, units);
        let mut state = self.state.lock(host);
        let cell = self.free_units(set);
        debug_assert_eq!(cell.get() & bits, 0, "a used run is freed");
        let free = cell.get() | bits;
        cell.set(free);
        state.in_use -= units;
        // Only for the runs that this set has now: the others' searches need not begin here.
        for units in (1..=MAX_UNITS).take_while(|&units| lowest_run(free, units).is_some()) {
            state.lowest[units] = state.lowest[units].min(set as u32);
        }
    }

    /// Closes every page without a unit in use, and gives its memory back; returns the bytes.
    /// Called with no lock held; looks at every set that was ever open.
    pub(crate) fn trim<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        let (mut page, mut bytes) = (TablePage::default(), 0);
        loop {
            let way = self.transit.depart();
            if !self.empty_sets(arena.host(), &mut page) {
                return bytes;
            }
            let gone = self.table.close_if_empty(arena, page);
            if gone == 0 {
                // Refused: the cells, which were zero, still are.
                self.fill_sets(arena.host(), page);
            } else {
                self.state.lock(arena.host()).pages.note_closed(page);
            }
            drop(way);
            bytes += gone;
            page = page.next();
        }
    }

    /// Finds an open page without a unit in use from `page` on, and empties its sets, so that
    /// nobody takes a unit of it.
    fn empty_sets(&self, host: &dyn Host, page: &mut TablePage) -> bool {
        /// Pages looked at in one hold of the lock.
        const PAGES: u32 = 64;
        loop {
            let state = self.state.lock(host);
            for _ in 0..PAGES {
                if *page >= state.pages.end() {
                    return false;
                }
                let mut sets = self.table.states().sets_of(*page);
                if sets.all(|set| self.free_units(set).get() == ALL_FREE) {
                    let sets = self.table.states().sets_of(*page);
                    sets.for_each(|set| self.free_units(set).set(0));
                    return true;
                }
                *page = page.next();
            }
        }
    }

    /// Returns the number of sets of the pages below `end`.
    fn sets_below(&self, end: TablePage) -> usize {
        self.table.states().sets_of(end).start
    }

    fn free_units(&self, set: usize) -> &Guarded64 {
        self.table.states().of(set)
    }

    /// Says whether so few of the open pages' units are in use that moving records down would close
    /// most of the pages.
    pub(crate) fn is_sparse(&self, host: &dyn Host) -> bool {
        let open = self.cells().committed_bytes() / wide(UNIT_BYTES);
        let in_use = self.state.lock(host).in_use * SPARSE;
        (wide(in_use)) < open
    }

    /// Says whether all of a run is in use.
    pub(crate) fn is_in_use(&self, first: ZspageId, units: usize) -> bool {
        let cell = first.index() * UNIT_CELLS;
        let bits = run(first.index() % SET_UNITS, units);
        cell < self.cells().len()
            && self.table.is_open(self.table.page_of(cell))
            && self.free_units(first.index() / SET_UNITS).get() & bits == 0
    }

    /// Returns what does not hold of the recorded figures, if anything, given that `units` are in
    /// use; no other thread is at work.
    pub(crate) fn validate(&self, host: &dyn Host, units: u64) -> Result<(), &'static str> {
        let state = self.state.lock(host);
        let no_run_below = |units: usize| {
            (0..as_index(state.lowest[units]))
                .all(|set| lowest_run(self.free_units(set).get(), units).is_none())
        };
        if !(1..=MAX_UNITS).all(no_run_below) {
            return Err("a set of record units below the lowest has a free run");
        }
        let (mut in_use, mut bytes) = (0, 0);
        for number in 0..state.pages.end().number() {
            let page = TablePage::new(number);
            let mut sets = self.table.states().sets_of(page);
            if self.table.is_open(page) {
                bytes += sets.len() * SET_UNITS * UNIT_BYTES;
                in_use += sets
                    .map(|set| SET_UNITS - as_index(self.free_units(set).get().count_ones()))
                    .sum::<usize>();
            } else if sets.any(|set| self.free_units(set).get() != 0) {
                return Err("a closed record page has free units");
            }
        }
        if wide(bytes) > self.cells().committed_bytes() {
            return Err("an open record page is not committed");
        }
        if in_use != state.in_use || wide(in_use) != units {
            return Err("the units in use are not those of the zspages");
        }
        Ok(())
    }
}

/// Returns `units` bits from `first`.
fn run(first: usize, units: usize) -> u64 {
    ((1 << units) - 1) << first
}

/// Returns the lowest run of `units` set bits.
fn lowest_run(free: u64, units: usize) -> Option<usize> {
    let starts = (1..units).fold(free, |starts, shift| starts & free >> shift);
    (starts != 0).then(|| as_index(starts.trailing_zeros()))
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
        assert_eq!(lowest_run(3 << 62, 3), None, "a run does not leave its set");
        assert_eq!(run(54, 10), 0xffc0_0000_0000_0000);
    }
}
