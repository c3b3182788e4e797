//! Tables whose pages come and go, with each call of the backing failed in turn.

use crate::common::still_host;
use zs_mm::{Arena, ArenaOptions, Error, MetaTable, PagedTable, TablePage};
use zs_os::testing::{Call, Fault, FaultBacking, FaultControl, StrictBacking};
use zs_sync::{AtomicU32, AtomicU64, Ordering};

type Tested = FaultBacking<StrictBacking>;
type Sparse = PagedTable<AtomicU32, MetaTable<AtomicU32>>;

/// Cells that fill a system page.
const CELLS: usize = 512;
/// Pages of the table: as many as three pages of states describe, the last not whole.
const PAGES: u32 = 2 * 1024 + 300;
/// Pages in each page of states, and at both ends of the table.
const USED: [u32; 6] = [0, 1, 1023, 1024, 2048, PAGES - 1];

fn arena() -> Result<(Arena<Tested>, FaultControl), Error> {
    let backing = FaultBacking::new(StrictBacking::default());
    let control = backing.control();
    let arena = Arena::new(backing, still_host(), ArenaOptions::new(16 << 20))?;
    Ok((arena, control))
}

fn table(arena: &Arena<Tested>) -> Result<PagedTable<AtomicU64, Sparse>, Error> {
    let outer = arena.reserve_table((PAGES as usize).div_ceil(1024))?;
    let states = PagedTable::new(arena, PAGES as usize, 1024, outer)?;
    PagedTable::new(arena, PAGES as usize * CELLS - 5, CELLS, states)
}

fn open_pages(table: &PagedTable<AtomicU64, Sparse>) -> Vec<u32> {
    let end = TablePage::new(table.pages());
    let mut next = TablePage::default();
    let mut open = Vec::new();
    while let Some(page) = table.next_open(next, end) {
        open.push(page.number());
        next = page.next();
    }
    open
}

/// Enters the pages, writes to the first and last cell of each, and returns those that there was
/// memory for.
fn enter_all(arena: &Arena<Tested>, table: &PagedTable<AtomicU64, Sparse>) -> Vec<u32> {
    let enter = |&number: &u32| {
        let page = TablePage::new(number);
        if let Err(error) = table.enter(arena, page) {
            assert_eq!(error, Error::NoMemory);
            return false;
        }
        let cells = table.cells_of(page);
        for cell in [cells.start, cells.end - 1] {
            let before = table.cells().at(cell).swap(7, Ordering::Relaxed);
            assert_eq!(before, 0, "cells begin as zeros");
        }
        true
    };
    USED.into_iter().filter(enter).collect()
}

fn leave_all(table: &PagedTable<AtomicU64, Sparse>, pages: &[u32]) {
    for &number in pages {
        let page = TablePage::new(number);
        for cell in table.cells_of(page) {
            table.cells().at(cell).store(0, Ordering::Relaxed);
        }
        table.leave(page, 1);
    }
}

#[test]
fn a_page_that_cannot_be_opened_stays_closed_and_costs_nothing() {
    let mut failures = 0;
    for nth in 1.. {
        let (arena, control) = arena().expect("an arena");
        let mut table = table(&arena).expect("address space");
        let before = arena.stats().held;
        control.set(Call::Commit, Fault::Nth(nth));
        let entered = enter_all(&arena, &table);
        assert_eq!(open_pages(&table), entered, "commit {nth} failed");
        let failed = control.failed(Call::Commit);
        failures += failed;
        control.set(Call::Commit, Fault::Never);
        leave_all(&table, &entered);
        assert!(entered.is_empty() || table.trim(&arena) > 0);
        assert_eq!(open_pages(&table), Vec::<u32>::new());
        assert_eq!(enter_all(&arena, &table), USED, "after commit {nth} failed");
        leave_all(&table, &USED);
        table.trim(&arena);
        // The outermost states stay until the table goes.
        assert!(arena.stats().held <= before + 4096, "after commit {nth}");
        table.release(&arena);
        assert_eq!(arena.stats().held, before, "after commit {nth}");
        if failed == 0 {
            break;
        }
    }
    assert!(
        failures > 9,
        "each page, and each page of states: {failures}"
    );
}

#[test]
fn a_page_that_the_system_keeps_stays_open() {
    let mut failures = 0;
    for nth in 1.. {
        let (arena, control) = arena().expect("an arena");
        let mut table = table(&arena).expect("address space");
        let before = arena.stats().held;
        assert_eq!(enter_all(&arena, &table), USED);
        leave_all(&table, &USED);
        control.set(Call::Decommit, Fault::Nth(nth));
        table.trim(&arena);
        let failed = control.failed(Call::Decommit);
        failures += failed;
        control.set(Call::Decommit, Fault::Never);
        assert!(open_pages(&table).len() <= 1, "decommit {nth} failed");
        table.trim(&arena);
        assert_eq!(open_pages(&table), Vec::<u32>::new(), "a second trim");
        assert!(arena.stats().held <= before + 4096, "after decommit {nth}");
        table.release(&arena);
        assert_eq!(arena.stats().held, before);
        if failed == 0 {
            break;
        }
    }
    assert!(
        failures > 8,
        "each page, and each page of states: {failures}"
    );
}

#[test]
fn a_page_with_a_hold_is_not_closed() {
    let (arena, _) = arena().expect("an arena");
    let mut table = table(&arena).expect("address space");
    let page = TablePage::new(USED[3]);
    table.enter(&arena, page).expect("memory");
    assert!(table.enter_if_open(arena.host(), page));
    assert_eq!(table.open(&arena, page), Ok(false), "it is open");
    assert_eq!(
        (table.holds(page), table.close_if_empty(&arena, page)),
        (2, 0)
    );
    table.leave(page, 2);
    assert!(
        table.close_if_empty(&arena, page) >= 8192,
        "with its page of states"
    );
    assert!(table.is_closed(page) && !table.enter_if_open(arena.host(), page));
    table.release(&arena);
}

#[test]
fn a_table_without_address_space_leaves_nothing_behind() {
    for nth in 1..=3 {
        let (arena, control) = arena().expect("an arena");
        let before = arena.stats().held;
        control.set(Call::Reserve, Fault::Nth(nth));
        assert!(matches!(table(&arena), Err(Error::NoMemory)), "{nth}");
        assert_eq!(arena.stats().held, before);
        control.set(Call::Reserve, Fault::Never);
        table(&arena).expect("address space").release(&arena);
    }
}
