//! The state of one page of a table: whether it has memory, and how many hold it open.
//!
//! closed -> on its way -> open -> on its way -> closed. One cell a page:
//!
//! ```text
//!   31     30    29                 0
//! +------+------+-------------------+
//! | open | on   | holds             |   "on its way": one thread commits its memory, or gives it back
//! |      | its  |                   |
//! |      | way  |                   |
//! +------+------+-------------------+
//! ```
//!
//! # Locking
//!
//! None. A thread that finds a page on its way lets others run until the page has arrived.

use zs_sync::{AtomicU32, Ordering, Peek};

const OPEN: u32 = 1 << 31;
const ON_ITS_WAY: u32 = 1 << 30;
const HOLDS: u32 = ON_ITS_WAY - 1;

/// The outcome of an attempt to hold a page open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The page stays open until the hold [ends](PageState::leave).
    Inside,
    /// The page has no memory.
    Closed,
    /// Another thread opens or closes the page: look again soon.
    OnItsWay,
}

/// The state of one page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageState<'a>(pub(crate) &'a AtomicU32);

impl PageState<'_> {
    /// Takes a hold, if the page is open.
    pub(crate) fn enter(self) -> Entry {
        loop {
            // Relaxed: the compare-and-swap decides.
            let seen = self.0.peek(Ordering::Relaxed);
            if seen & ON_ITS_WAY != 0 {
                return Entry::OnItsWay;
            }
            if seen & OPEN == 0 {
                return Entry::Closed;
            }
            // Acquire pairs with the Release in `end_opening`: the memory is there.
            let entered =
                self.0
                    .compare_exchange(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed);
            if entered.is_ok() {
                return Entry::Inside;
            }
        }
    }

    /// Ends `holds` holds.
    pub(crate) fn leave(self, holds: u32) {
        // Release pairs with the Acquire in `begin_closing`: this thread's accesses are over.
        let before = self.0.fetch_sub(holds, Ordering::Release);
        debug_assert!(before & HOLDS >= holds, "a hold ends that was not taken");
    }

    /// Sets a closed page on its way; true for the one thread that did, which commits its memory.
    pub(crate) fn begin_opening(self) -> bool {
        // Acquire pairs with the Release in `end_closing`: the memory has gone.
        self.0
            .compare_exchange(0, ON_ITS_WAY, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Ends an opening: the page is open and the caller has a hold, or there was no memory.
    pub(crate) fn end_opening(self, open: bool) {
        // Release pairs with the Acquire in `enter`.
        self.0
            .swap(if open { OPEN | 1 } else { 0 }, Ordering::Release);
    }

    /// Sets an open page without a hold on its way; true for the one thread that did.
    pub(crate) fn begin_closing(self) -> bool {
        // Acquire pairs with the Release in `leave`.
        self.0
            .compare_exchange(OPEN, ON_ITS_WAY, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Ends a closing: the memory has gone, or the system kept it.
    pub(crate) fn end_closing(self, closed: bool) {
        // Release pairs with the Acquire in `enter` and in `begin_opening`.
        self.0
            .swap(if closed { 0 } else { OPEN }, Ordering::Release);
    }

    /// Says whether the page is open.
    pub(crate) fn is_open(self) -> bool {
        // Acquire: as in `enter`. A page that opens just now holds nothing that must be seen.
        self.0.peek(Ordering::Acquire) & OPEN != 0
    }

    /// Says whether the page is closed, and not on its way.
    pub(crate) fn is_closed(self) -> bool {
        // Relaxed: `begin_opening` decides.
        self.0.peek(Ordering::Relaxed) == 0
    }

    /// Returns the number of holds.
    pub(crate) fn holds(self) -> u32 {
        // Relaxed: a figure.
        self.0.peek(Ordering::Relaxed) & HOLDS
    }
}
