//! Memory for zspage records: runs of units, the lowest first.
//!
//! A page of records has 64 units, and so one 64-bit set of the units in use; the sets lie in a table
//! of their own. Runs are taken from the lowest page that has one and pages are opened lowest first,
//! so that ids are small and the upper pages empty; empty pages are closed, and their memory given
//! back, on demand. A closed page's set is full: no run is found in it.
//!
//! Pages are opened and closed in groups, as many as a granule of memory has.
//!
//! # Locking
//!
//! One leaf lock (`Records`), taken with no class lock held. A group is marked open, still with full
//! sets, before its memory is committed, and stays so until its memory is given back; both happen with
//! no lock held. So a group's memory comes or goes by one thread at a time.

use crate::geometry::{MAX_CHAIN, MAX_SLOTS};
use crate::ids::ZspageId;
use crate::record::UNIT_CELLS;
use core::ops::Range;
use zs_mm::{Arena, Backing, Error, MetaTable};
use zs_sync::{Dual32, Guarded64, Host, Mutex, Rank, assert_may_block};

/// Units of a page of records; the bits of its set that are used. Models make do with fewer.
pub(crate) const PAGE_UNITS: usize = if cfg!(zs_loom) { 8 } else { 64 };
const PAGE_SET: u64 = u64::MAX >> (64 - PAGE_UNITS);
const PAGE_BYTES: usize = PAGE_UNITS * UNIT_CELLS * size_of::<u32>();
/// The most units of one record.
const MAX_UNITS: usize = (12 + MAX_CHAIN + MAX_SLOTS).div_ceil(UNIT_CELLS);
/// Pages with less than this part of their units in use are worth closing.
const SPARSE: usize = 3;
/// Groups that one cell of the open ones covers.
const CELL: usize = 64;

/// The units of one pool's record table.
#[derive(Debug)]
pub(crate) struct RecordAlloc {
    /// The units in use, a cell for each page; 64 groups of them are led by a cell with a bit for each
    /// group that is open, or on its way there or back.
    sets: MetaTable<Guarded64>,
    pages: usize,
    /// Pages of a group.
    group: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Groups from this one on were never open.
    end: usize,
    /// Groups below `end` that are closed.
    closed: usize,
    /// No group below this one is closed.
    lowest_closed: usize,
    /// How often a group was set on its way, and how often one arrived.
    set_out: u64,
    arrived: u64,
    /// Units in use.
    in_use: usize,
    /// No page below `lowest[n]` has a run of `n` free units.
    lowest: [u32; MAX_UNITS + 1],
}

impl RecordAlloc {
    /// Makes an allocator of `units` units (a power of two), of which nothing is open.
    pub(crate) fn new<B: Backing>(arena: &Arena<B>, units: usize) -> Result<Self, Error> {
        let pages = units / PAGE_UNITS;
        let group = (arena.granule() / PAGE_BYTES).max(1);
        let sets = arena.reserve_table(pages + pages.div_ceil(group * CELL))?;
        let state = State {
            end: 0,
            closed: 0,
            lowest_closed: 0,
            set_out: 0,
            arrived: 0,
            in_use: 0,
            lowest: [0; MAX_UNITS + 1],
        };
        Ok(Self {
            sets,
            pages,
            group,
            state: Mutex::new(Rank::Records, state),
        })
    }

    /// Gives the allocator's own tables back to the arena; nothing of it is used any more.
    pub(crate) fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        arena.release_table(core::mem::take(&mut self.sets));
    }

    pub(crate) fn committed_bytes(&self) -> u64 {
        self.sets.committed_bytes()
    }

    /// Allocates a run of `units` units of committed, zeroed record memory; returns the first.
    ///
    /// Called with no lock held: it may commit memory, and waits for pages that other threads are opening
    /// or closing if there is no other room.
    pub(crate) fn alloc<B: Backing>(
        &self,
        arena: &Arena<B>,
        cells: &MetaTable<Dual32>,
        units: usize,
    ) -> Result<ZspageId, Error> {
        let mut waited = false;
        loop {
            let group = match self.find(arena.host(), units) {
                Ok(first) => return Ok(first),
                Err(group) => group,
            };
            if let Err(error) = self.open_group(arena, cells, group) {
                if core::mem::replace(&mut waited, true) {
                    return Err(error);
                }
                self.wait_for_arrivals(arena.host());
            }
        }
    }

    /// Waits until every group has arrived that is on its way now: it may have room then, or can be
    /// opened.
    fn wait_for_arrivals(&self, host: &dyn Host) {
        let until = self.state.lock(host).set_out;
        while self.state.lock(host).arrived < until {
            assert_may_block();
            host.yield_now();
        }
    }

    /// Commits a group and opens it, unless somebody else does so; an error if it is beyond the end.
    fn open_group<B: Backing>(
        &self,
        arena: &Arena<B>,
        cells: &MetaTable<Dual32>,
        group: usize,
    ) -> Result<(), Error> {
        let Some(last) = self.pages_of(group).last() else {
            return Err(Error::NoMemory);
        };
        arena.ensure(&self.sets, self.set_index(last))?;
        if !self.begin_open(arena.host(), group) {
            return Ok(());
        }
        let committed = arena.commit_cells(cells, self.cells_of(group));
        self.end_open(arena.host(), group, committed.is_ok());
        committed
    }

    /// Takes the lowest run of free units of an open page, or names the group to open.
    fn find(&self, host: &dyn Host, units: usize) -> Result<ZspageId, usize> {
        let mut state = self.state.lock(host);
        let end = self.end_page(&state);
        for page in state.lowest[units] as usize..end {
            let set = self.set(page);
            if let Some(first) = lowest_run(!set.get() & PAGE_SET, units) {
                set.set(set.get() | run(first, units));
                state.in_use += units;
                state.lowest[units] = page as u32;
                return Ok(ZspageId::of_unit(page * PAGE_UNITS + first));
            }
        }
        state.lowest[units] = end as u32;
        let from = if state.closed > 0 {
            state.lowest_closed
        } else {
            state.end
        };
        let closed = (from..state.end).find(|&group| !self.is_open(group));
        state.lowest_closed = closed.unwrap_or(state.end);
        Err(state.lowest_closed)
    }

    /// Takes the lowest run of free units if it lies in a lower page than unit `above`, of pages that
    /// are open.
    pub(crate) fn alloc_below(
        &self,
        host: &dyn Host,
        units: usize,
        above: ZspageId,
    ) -> Option<ZspageId> {
        let first = self.find(host, units).ok()?;
        let lower = first.index() / PAGE_UNITS < above.index() / PAGE_UNITS;
        if !lower {
            self.free(host, first, units);
        }
        lower.then_some(first)
    }

    /// Marks a closed group as open, its sets full: whoever does commits its memory.
    fn begin_open(&self, host: &dyn Host, group: usize) -> bool {
        let mut state = self.state.lock(host);
        if group == state.end {
            state.end += 1;
        } else if group > state.end || self.is_open(group) {
            return false;
        } else {
            state.closed -= 1;
        }
        state.set_out += 1;
        self.set_open(group, true);
        self.pages_of(group)
            .for_each(|page| self.set(page).set(PAGE_SET));
        true
    }

    /// Ends an opening: there is room in the group, or it is closed again.
    fn end_open(&self, host: &dyn Host, group: usize, done: bool) {
        let mut state = self.state.lock(host);
        state.arrived += 1;
        if !done {
            self.set_open(group, false);
            state.closed += 1;
            state.lowest_closed = state.lowest_closed.min(group);
            return;
        }
        let pages = self.pages_of(group);
        pages.clone().for_each(|page| self.set(page).set(0));
        for lowest in &mut state.lowest {
            *lowest = (*lowest).min(pages.start as u32);
        }
    }

    /// Frees a run. Its cells are zero again.
    pub(crate) fn free(&self, host: &dyn Host, first: ZspageId, units: usize) {
        let page = first.index() / PAGE_UNITS;
        let mut state = self.state.lock(host);
        let set = self.set(page);
        let bits = run(first.index() % PAGE_UNITS, units);
        debug_assert_eq!(set.get() & bits, bits, "a used run is freed");
        set.set(set.get() & !bits);
        state.in_use -= units;
        // Only for the runs that this page has now: the others' searches need not begin here.
        let free = !set.get() & PAGE_SET;
        for units in (1..=MAX_UNITS).take_while(|&units| lowest_run(free, units).is_some()) {
            state.lowest[units] = state.lowest[units].min(page as u32);
        }
    }

    /// Closes every group without a unit in use, and gives its memory back; returns the bytes. Called
    /// with no lock held; looks at every page that was ever open.
    pub(crate) fn trim<B: Backing>(&self, arena: &Arena<B>, cells: &MetaTable<Dual32>) -> u64 {
        let (mut group, mut bytes) = (0, 0);
        while self.take_empty(arena.host(), &mut group) {
            let gone = arena.decommit_cells(cells, self.cells_of(group));
            // Refused: the cells, which were zero, still are.
            self.end_open(arena.host(), group, gone == 0);
            bytes += gone;
            group += 1;
        }
        bytes
    }

    /// Finds an open group without a unit in use from `group` on, and fills its sets, so that nobody
    /// takes a unit of it.
    fn take_empty(&self, host: &dyn Host, group: &mut usize) -> bool {
        loop {
            let mut state = self.state.lock(host);
            for _ in 0..CELL {
                if *group >= state.end {
                    return false;
                }
                let mut pages = self.pages_of(*group);
                if self.is_open(*group) && pages.all(|page| self.set(page).get() == 0) {
                    self.pages_of(*group)
                        .for_each(|page| self.set(page).set(PAGE_SET));
                    state.set_out += 1;
                    return true;
                }
                *group += 1;
            }
        }
    }

    fn pages_of(&self, group: usize) -> Range<usize> {
        let first = (group * self.group).min(self.pages);
        first..(first + self.group).min(self.pages)
    }

    fn cells_of(&self, group: usize) -> Range<usize> {
        let pages = self.pages_of(group);
        pages.start * PAGE_UNITS * UNIT_CELLS..pages.end * PAGE_UNITS * UNIT_CELLS
    }

    fn end_page(&self, state: &State) -> usize {
        (state.end * self.group).min(self.pages)
    }

    fn set_index(&self, page: usize) -> usize {
        page + page / (self.group * CELL) + 1
    }

    /// Returns the units of a page that are in use.
    fn set(&self, page: usize) -> &Guarded64 {
        self.sets.at(self.set_index(page))
    }

    /// Returns the cell with the open bit of a group.
    fn open_bits(&self, group: usize) -> &Guarded64 {
        self.sets.at(group / CELL * (self.group * CELL + 1))
    }

    fn is_open(&self, group: usize) -> bool {
        self.open_bits(group).get() & (1 << (group % CELL)) != 0
    }

    fn set_open(&self, group: usize, open: bool) {
        let cell = self.open_bits(group);
        let bit = 1 << (group % CELL);
        cell.set(if open {
            cell.get() | bit
        } else {
            cell.get() & !bit
        });
    }

    /// Says whether so few of the open pages' units are in use that moving records down would close
    /// most of the pages.
    pub(crate) fn is_sparse(&self, host: &dyn Host) -> bool {
        let state = self.state.lock(host);
        let open = (state.end - state.closed) * self.group * PAGE_UNITS;
        state.in_use * SPARSE < open
    }

    /// Says whether all of a run is in use.
    pub(crate) fn is_in_use(&self, first: ZspageId, units: usize) -> bool {
        let page = first.index() / PAGE_UNITS;
        let bits = run(first.index() % PAGE_UNITS, units);
        page < self.pages && self.is_open(page / self.group) && self.set(page).get() & bits == bits
    }

    /// Returns what does not hold of the recorded figures, if anything, given that `units` are in
    /// use; no other thread is at work.
    pub(crate) fn validate(
        &self,
        host: &dyn Host,
        cells: &MetaTable<Dual32>,
        units: u64,
    ) -> Result<(), &'static str> {
        let state = self.state.lock(host);
        let no_run_below = |units: usize| {
            (0..state.lowest[units] as usize)
                .all(|page| lowest_run(!self.set(page).get() & PAGE_SET, units).is_none())
        };
        if !(1..=MAX_UNITS).all(no_run_below) {
            return Err("a record page below the lowest has a free run");
        }
        let (mut open, mut in_use, mut bytes) = (0, 0, 0);
        for group in (0..state.end).filter(|&group| self.is_open(group)) {
            let pages = self.pages_of(group);
            open += 1;
            bytes += pages.len() * PAGE_BYTES;
            in_use += pages
                .map(|page| self.set(page).get().count_ones() as usize)
                .sum::<usize>();
        }
        if state.end != open + state.closed {
            return Err("closed record pages are miscounted");
        }
        if bytes as u64 > cells.committed_bytes() {
            return Err("an open record page is not committed");
        }
        if in_use != state.in_use || in_use as u64 != units {
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
