//! For owners of a paged table that take from its lowest page with room: which page to open next,
//! and pages on their way.
//!
//! # Locking
//!
//! [`OpenedPages`] lies under the owner's lock. [`Transit`] has none.

use crate::arena::paged::{PageStates, PagedTable, TablePage};
use crate::error::Error;
use zs_sync::{AtomicU32, Host, Ordering, Peek, TableCell, assert_may_block};

/// The pages of a table that were opened so far, for an owner that opens the lowest first. Guarded
/// by the owner's lock.
#[derive(Debug, Default)]
pub struct OpenedPages {
    /// Pages from this one on were never opened.
    end: TablePage,
    /// No page below this one is closed.
    lowest_closed: TablePage,
}

impl OpenedPages {
    /// Returns the page after the last that was ever opened.
    pub fn end(&self) -> TablePage {
        self.end
    }

    /// Returns the lowest closed page, which the caller is to open; the number of all pages if none
    /// is closed. Looks at the pages from the lowest that may be closed.
    pub fn next_to_open<T: TableCell, S: PageStates>(
        &mut self,
        table: &PagedTable<T, S>,
    ) -> TablePage {
        let mut page = self.lowest_closed;
        while page < self.end && !table.is_closed(page) {
            page = page.next();
        }
        self.lowest_closed = page;
        if page == self.end && page.number() < table.pages() {
            self.end = page.next();
        }
        page
    }

    /// Notes that a page is closed.
    pub fn note_closed(&mut self, page: TablePage) {
        self.lowest_closed = self.lowest_closed.min(page);
    }
}

/// Pages of one table on their way, of which threads without memory wait for.
///
/// A thread that opens or closes a page [departs](Self::depart) before it takes the page from
/// others, and arrives after it has given the page to them. So a thread that finds no room waits
/// for the pages under way, and looks again, before it gives up.
#[derive(Debug, Default)]
pub struct Transit {
    departed: AtomicU32,
    arrived: AtomicU32,
}

/// A page on its way; dropping it ends the way.
#[derive(Debug)]
#[must_use = "a way ends when this is dropped"]
pub struct UnderWay<'a>(&'a Transit);

impl Transit {
    /// Begins a way.
    pub fn depart(&self) -> UnderWay<'_> {
        // AcqRel: what comes after it is not seen before it; pairs with the Acquire in `wait`.
        self.departed.fetch_add(1, Ordering::AcqRel);
        UnderWay(self)
    }

    /// Takes from an open page by `take`, which names the page to open if it finds nothing; and
    /// opens that page by `open`. Called with no lock held; waits for pages on their way before
    /// it fails.
    ///
    /// # Errors
    /// That of `open`.
    pub fn take_or_open<R>(
        &self,
        host: &dyn Host,
        take: impl Fn() -> Result<R, TablePage>,
        open: impl Fn(TablePage) -> Result<(), Error>,
    ) -> Result<R, Error> {
        let mut waited = false;
        loop {
            let page = match take() {
                Ok(taken) => return Ok(taken),
                Err(page) => page,
            };
            if let Err(error) = open(page) {
                if core::mem::replace(&mut waited, true) {
                    return Err(error);
                }
                self.wait(host);
            }
        }
    }

    /// Waits until as many ways have ended as have begun by now.
    fn wait(&self, host: &dyn Host) {
        // Acquire pairs with the Release half in `depart`.
        let until = self.departed.peek(Ordering::Acquire);
        // Acquire pairs with the Release in `drop`: the pages that arrived are found.
        while until
            .wrapping_sub(self.arrived.peek(Ordering::Acquire))
            .cast_signed()
            > 0
        {
            assert_may_block();
            host.yield_now();
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `wait`.
        self.0.arrived.fetch_add(1, Ordering::Release);
    }
}
