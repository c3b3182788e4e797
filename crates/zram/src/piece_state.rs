//! Whether a part of a table has memory, and who is at work in it.
//!
//! closed -> on its way -> open -> on its way -> closed. One cell a part:
//!
//! ```text
//!   31     30    29                 0
//! +------+------+-------------------+
//! | open | on   | what is in it,    |   "on its way": one thread commits it, or gives it back
//! |      | its  | and threads at    |
//! |      | way  | work              |
//! +------+------+-------------------+
//! ```
//!
//! # Locking
//!
//! None. Who finds a part on its way lets others run until it has arrived.

use zs_sync::{AtomicU32, Ordering, Peek};

const OPEN: u32 = 1 << 31;
const ON_ITS_WAY: u32 = 1 << 30;
const COUNT: u32 = ON_ITS_WAY - 1;

/// What a thread finds that wants to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It is in: the part stays open until it [leaves](PieceState::leave).
    Inside,
    /// There is no memory: somebody must open it.
    Closed,
    /// Look again soon.
    OnItsWay,
}

/// The cell of one part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PieceState<'a>(pub(crate) &'a AtomicU32);

impl PieceState<'_> {
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
            // Acquire pairs with the Release of who opened it: the memory is there.
            let entered =
                self.0
                    .compare_exchange(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed);
            if entered.is_ok() {
                return Entry::Inside;
            }
        }
    }

    /// Ends so many entries.
    pub(crate) fn leave(self, entries: u32) {
        // Release pairs with the Acquire of who closes it: this thread's work in it is over.
        self.0.fetch_sub(entries, Ordering::Release);
    }

    /// Sets a closed part on its way; true for the one thread that has, which opens it.
    pub(crate) fn begin_opening(self) -> bool {
        // Acquire pairs with the Release of who closed it: the memory has gone.
        self.0
            .compare_exchange(0, ON_ITS_WAY, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Ends an opening: it is open, and the caller is in; or there was no memory.
    pub(crate) fn end_opening(self, open: bool) {
        // Release pairs with the Acquire of who enters.
        self.0
            .swap(if open { OPEN | 1 } else { 0 }, Ordering::Release);
    }

    /// Sets an open part on its way in which nothing and nobody is; true if it was one.
    pub(crate) fn begin_closing(self) -> bool {
        // Acquire pairs with the Release of who left last.
        self.0
            .compare_exchange(OPEN, ON_ITS_WAY, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Its memory has gone; or the system kept it.
    pub(crate) fn end_closing(self, closed: bool) {
        // Release pairs with the Acquire of who enters, or opens it.
        self.0
            .swap(if closed { 0 } else { OPEN }, Ordering::Release);
    }

    pub(crate) fn is_open(self) -> bool {
        // Acquire: as in `enter`. A part that opens just now has nothing that must be seen.
        self.0.peek(Ordering::Acquire) & OPEN != 0
    }

    pub(crate) fn count(self) -> u32 {
        self.0.peek(Ordering::Relaxed) & COUNT
    }
}
