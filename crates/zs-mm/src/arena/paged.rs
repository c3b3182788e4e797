//! Tables whose pages get memory, and lose it, one by one.
//!
//! A page of a table is a number of its cells that fill whole granules of memory. Each page has a
//! state (`page_state.rs`): a page with memory is open. States lie beside what else the table's
//! owner keeps of a page, or in another paged table, so that a huge table with little in it has few
//! states, too. The owner says where, by [`PageStates`].
//!
//! A closed page reads as zeros. A late compare-and-swap in a closed page does no harm if it
//! expects a value that is not zero: it fails (promise 3 of a backing).
//!
//! # Locking
//!
//! None. One thread commits a page's memory or gives it back; others wait for it, or go elsewhere.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::error::Error;
use crate::meta::page_state::{Entry, PageState};
use crate::meta::table::MetaTable;
use crate::size::narrow;
use core::fmt;
use core::ops::Range;
use zs_sync::{AtomicU32, Host, TableCell, assert_may_block};

/// Looks at a page on its way before other threads are let run.
const SPINS: u32 = 100;

/// A page of a [`PagedTable`]. Displayed as `P<number>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TablePage(u32);

impl TablePage {
    /// Makes the page of this number.
    #[inline]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Returns the plain number.
    #[inline]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Returns the number as an index of tables.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the page after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for TablePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

/// The place of the states of a table's pages, and their memory.
pub trait PageStates {
    /// Returns the cell of a page's state. It may be read while it has no memory: it is zero then.
    fn state(&self, page: TablePage) -> &AtomicU32;

    /// Gives the cell memory, and keeps it until [`leave`](Self::leave). May call the backing.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached or the backing refuses.
    fn enter<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> Result<(), Error>;

    /// Ends an [`enter`](Self::enter): the page is closed. Gives the cell's memory back if no other
    /// page needs it, and returns the bytes.
    fn leave<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> u64;

    /// Returns the first page from `page` on whose cell may have memory.
    fn skip_closed(&self, page: TablePage) -> TablePage {
        page
    }

    /// Gives memory of cells back that no open page needs; returns the bytes.
    fn trim<B: Backing>(&self, _arena: &Arena<B>) -> u64 {
        0
    }

    /// Gives the cells back to the arena: the table is used no more.
    fn release<B: Backing>(&mut self, arena: &Arena<B>);

    /// Returns the number of bytes that are committed.
    fn committed_bytes(&self) -> u64;
}

/// States in a table that is committed from its start as it grows, and given back with its owner.
impl PageStates for MetaTable<AtomicU32> {
    fn state(&self, page: TablePage) -> &AtomicU32 {
        self.at(page.index())
    }

    fn enter<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> Result<(), Error> {
        arena.ensure(self, page.index())
    }

    fn leave<B: Backing>(&self, _arena: &Arena<B>, _page: TablePage) -> u64 {
        0
    }

    fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        arena.release_table(core::mem::take(self));
    }

    fn committed_bytes(&self) -> u64 {
        self.committed_bytes()
    }
}

/// States in pages of their own: a page of states has memory while one of its states is not closed.
impl<S: PageStates> PageStates for PagedTable<AtomicU32, S> {
    fn state(&self, page: TablePage) -> &AtomicU32 {
        self.cells.at(page.index())
    }

    fn enter<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> Result<(), Error> {
        self.enter(arena, self.page_of(page.index()))
    }

    fn leave<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> u64 {
        let outer = self.page_of(page.index());
        self.leave(outer, 1);
        self.close_if_empty(arena, outer)
    }

    fn skip_closed(&self, page: TablePage) -> TablePage {
        let outer = self.page_of(page.index());
        let end = TablePage(self.pages());
        match self.next_open(outer, end) {
            Some(open) if open == outer => page,
            Some(open) => TablePage(narrow(self.cells_of(open).start)),
            None => TablePage(u32::MAX),
        }
    }

    fn trim<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        self.trim(arena)
    }

    fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        self.release(arena);
    }

    fn committed_bytes(&self) -> u64 {
        self.committed_bytes()
    }
}

/// A table whose pages get memory, and lose it, one by one.
///
/// Made by [`new`](Self::new) and given back by [`release`](Self::release); a table that is merely
/// dropped keeps its memory.
#[derive(Debug)]
#[must_use = "a table that is dropped, not released, keeps its memory"]
pub struct PagedTable<T, S> {
    cells: MetaTable<T>,
    states: S,
    /// Cells of a page.
    page_cells: usize,
}

impl<T: TableCell, S: PageStates> PagedTable<T, S> {
    /// Makes a table of `len` cells in pages of `page_cells`, none of them open.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the address space cannot be reserved; the states are given back then.
    ///
    /// # Panics
    /// If a page has no cell.
    pub fn new<B: Backing>(
        arena: &Arena<B>,
        len: usize,
        page_cells: usize,
        mut states: S,
    ) -> Result<Self, Error> {
        assert!(page_cells > 0, "pages without cells");
        match arena.reserve_table(len) {
            Ok(cells) => Ok(Self {
                cells,
                states,
                page_cells,
            }),
            Err(error) => {
                states.release(arena);
                Err(error)
            }
        }
    }

    /// Gives cells and states back to the arena. The table has no cell afterwards.
    pub fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        arena.release_table(core::mem::take(&mut self.cells));
        self.states.release(arena);
    }

    /// Returns the number of bytes that are committed, for cells and states.
    pub fn committed_bytes(&self) -> u64 {
        self.cells.committed_bytes() + self.states.committed_bytes()
    }

    /// Returns the cells.
    #[inline]
    pub fn cells(&self) -> &MetaTable<T> {
        &self.cells
    }

    /// Returns the states.
    pub fn states(&self) -> &S {
        &self.states
    }

    /// Returns the number of pages.
    pub fn pages(&self) -> u32 {
        narrow(self.cells.len().div_ceil(self.page_cells))
    }

    /// Returns the page that a cell lies in.
    pub fn page_of(&self, cell: usize) -> TablePage {
        TablePage(narrow(cell / self.page_cells))
    }

    /// Takes a hold of a page, and opens it if it is closed: it has memory until
    /// [`leave`](Self::leave). May call the backing.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached or the backing refuses.
    pub fn enter<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> Result<(), Error> {
        let mut spins = 0;
        loop {
            match self.state(page).enter() {
                Entry::Inside => return Ok(()),
                Entry::OnItsWay => wait(arena.host(), &mut spins),
                Entry::Closed => {
                    if self.open(arena, page)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes a hold of a page unless it is closed. Waits for a page on its way.
    pub fn enter_if_open(&self, host: &dyn Host, page: TablePage) -> bool {
        let mut spins = 0;
        loop {
            match self.state(page).enter() {
                Entry::Inside => return true,
                Entry::OnItsWay => wait(host, &mut spins),
                Entry::Closed => return false,
            }
        }
    }

    /// Opens a closed page, and takes a hold of it; false if another thread opens it, or has. May
    /// call the backing; does not wait.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached or the backing refuses.
    #[cold]
    pub fn open<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> Result<bool, Error> {
        assert_may_block();
        self.states.enter(arena, page)?;
        let mut outcome = Ok(false);
        if self.state(page).begin_opening() {
            let committed = arena.commit_cells(&self.cells, self.cells_of(page));
            self.state(page).end_opening(committed.is_ok());
            outcome = committed.map(|()| true);
        }
        // An open page keeps its state's memory until it is closed.
        if outcome != Ok(true) {
            self.states.leave(arena, page);
        }
        outcome
    }

    /// Ends `holds` holds of a page.
    pub fn leave(&self, page: TablePage, holds: u32) {
        self.state(page).leave(holds);
    }

    /// Gives the memory of an open page back if there is no hold of it; returns the bytes. Calls
    /// the backing.
    pub fn close_if_empty<B: Backing>(&self, arena: &Arena<B>, page: TablePage) -> u64 {
        // A state whose own page another thread closes just now reads as closed.
        let state = self.state(page);
        if !state.begin_closing() {
            return 0;
        }
        let bytes = arena.decommit_cells(&self.cells, self.cells_of(page));
        state.end_closing(bytes > 0);
        if bytes == 0 {
            return 0;
        }
        bytes + self.states.leave(arena, page)
    }

    /// Closes every open page without a hold; returns the bytes that came back.
    pub fn trim<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        let (mut page, mut bytes) = (TablePage(0), 0);
        while let Some(open) = self.next_open(page, TablePage(self.pages())) {
            bytes += self.close_if_empty(arena, open);
            page = open.next();
        }
        bytes + self.states.trim(arena)
    }

    /// Returns the first open page from `page` on and below `end`.
    pub fn next_open(&self, page: TablePage, end: TablePage) -> Option<TablePage> {
        let mut page = page;
        loop {
            page = self.states.skip_closed(page);
            if page >= end {
                return None;
            }
            if self.state(page).is_open() {
                return Some(page);
            }
            page = page.next();
        }
    }

    /// Says whether a page is open.
    pub fn is_open(&self, page: TablePage) -> bool {
        self.state(page).is_open()
    }

    /// Says whether a page is closed, and no thread is about to open it.
    pub fn is_closed(&self, page: TablePage) -> bool {
        self.state(page).is_closed()
    }

    /// Returns the number of holds of a page.
    pub fn holds(&self, page: TablePage) -> u32 {
        self.state(page).holds()
    }

    /// Returns the cells of a page.
    pub fn cells_of(&self, page: TablePage) -> Range<usize> {
        let start = page.index() * self.page_cells;
        start..(start + self.page_cells).min(self.cells.len())
    }

    fn state(&self, page: TablePage) -> PageState<'_> {
        PageState(self.states.state(page))
    }
}

/// Spins, and after some looks lets other threads run.
fn wait(host: &dyn Host, spins: &mut u32) {
    *spins += 1;
    if *spins < SPINS {
        core::hint::spin_loop();
    } else {
        host.yield_now();
    }
}
