//! For owners of a paged table that take from its lowest page with room: which page to open next,
//! and pages on their way.
//!
//! # Locking
//!
//! [`OpenedPages`] lies under the owner's lock. [`Transit`] has none.

use crate::arena::paged::{PageStates, PagedTable, TablePage};
use crate::error::Error;
use zs_sync::{AtomicU64, Host, Ordering, Peek, TableCell, assert_may_block};

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
/// others, under the lock of the table's owner, and arrives after it has given the page to them. So
/// a thread that finds no room waits for the pages under way, and looks again, before it gives up.
#[derive(Debug, Default)]
pub struct Transit(AtomicU64);

/// A page on its way; dropping it ends the way.
#[derive(Debug)]
#[must_use = "a way ends when this is dropped"]
pub struct UnderWay<'a> {
    transit: &'a Transit,
    phase: u16,
}

/// The ways under way, counted by the phase in which they began: the last one, or the one before. A
/// phase ends only when no way of the one before it is left, so there are never more.
///
/// ```text
///  63      48 47            24 23             0
/// +----------+----------------+----------------+
/// |  phase   |  ways of the   |  ways of this  |
/// |          |  one before    |  phase         |
/// +----------+----------------+----------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ways(u64);

impl Ways {
    const COUNT_BITS: u32 = 24;
    const COUNT: u64 = (1 << Self::COUNT_BITS) - 1;
    const ONE_BEFORE: u64 = 1 << Self::COUNT_BITS;

    fn new(phase: u16, before: u64, now: u64) -> Self {
        Self(u64::from(phase) << (2 * Self::COUNT_BITS) | before << Self::COUNT_BITS | now)
    }

    fn phase(self) -> u16 {
        (self.0 >> (2 * Self::COUNT_BITS)) as u16
    }

    fn before(self) -> u64 {
        self.0 >> Self::COUNT_BITS & Self::COUNT
    }

    fn now(self) -> u64 {
        self.0 & Self::COUNT
    }

    /// Begins a way; `None` while there are 2^24 of this phase.
    fn begun(self) -> Option<Self> {
        (self.now() < Self::COUNT).then_some(Self(self.0 + 1))
    }

    /// Ends a way that began in `phase`.
    fn ended(self, phase: u16) -> Self {
        Self(if phase == self.phase() {
            self.0 - 1
        } else {
            self.0 - Self::ONE_BEFORE
        })
    }

    /// Begins a new phase; `None` while a way of the one before is left.
    fn turned(self) -> Option<Self> {
        let phase = self.phase().wrapping_add(1);
        (self.before() == 0).then(|| Self::new(phase, self.now(), 0))
    }
}

impl Transit {
    /// Begins a way. Called before the owner's lock is taken.
    pub fn depart(&self) -> UnderWay<'_> {
        // Relaxed: a thread that finds no room has taken the owner's lock after this one, and so
        // sees it.
        let begun = |ways| Ways(ways).begun().map(|ways| ways.0);
        loop {
            let before = self
                .0
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, begun);
            if let Ok(before) = before {
                let phase = Ways(before).phase();
                return UnderWay {
                    transit: self,
                    phase,
                };
            }
            core::hint::spin_loop();
        }
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

    /// Waits until every way has ended that has begun by now, and for no other.
    fn wait(&self, host: &dyn Host) {
        // Acquire, here and below, pairs with the Release in `drop`: the pages that arrived are
        // found.
        let mut seen = Ways(self.0.peek(Ordering::Acquire));
        let first = seen.phase();
        // Two phases on, the ways of the first are over, and those of the one before it.
        while seen.phase().wrapping_sub(first) < 2 && (seen.before(), seen.now()) != (0, 0) {
            let turned = seen.turned().map(|turned| {
                // Relaxed on failure: looked at again.
                self.0
                    .compare_exchange(seen.0, turned.0, Ordering::AcqRel, Ordering::Relaxed)
            });
            if turned.is_none() {
                assert_may_block();
                host.yield_now();
            }
            seen = Ways(self.0.peek(Ordering::Acquire));
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let ended = |ways| Some(Ways(ways).ended(self.phase).0);
        // Release pairs with the Acquire in `wait`. It never fails: there is always a next value.
        let _ = self
            .transit
            .0
            .fetch_update(Ordering::Release, Ordering::Relaxed, ended);
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_phase_ends_when_the_one_before_has_no_way_left() {
        let ways = Ways(0).begun().and_then(Ways::begun).expect("room");
        let turned = ways.turned().expect("nothing is left of the one before");
        assert_eq!((turned.phase(), turned.before(), turned.now()), (1, 2, 0));
        let third = turned.begun().expect("room");
        assert_eq!(third.turned(), None, "two of phase 0 are left");
        let one = third.ended(0).ended(1);
        assert_eq!((one.phase(), one.before(), one.now()), (1, 1, 0));
        let none = one.ended(0).turned().expect("none is left");
        assert_eq!((none.phase(), none.before(), none.now()), (2, 0, 0));
    }

    #[test]
    fn phases_wrap_and_counts_are_bounded() {
        let last = Ways::new(u16::MAX, 0, 3).turned().expect("none is left");
        assert_eq!((last.phase(), last.before(), last.now()), (0, 3, 0));
        assert_eq!(last.ended(u16::MAX), Ways::new(0, 2, 0));
        assert_eq!(Ways::new(0, 0, Ways::COUNT).begun(), None);
    }
}
