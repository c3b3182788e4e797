//! Movers at work, and who makes them pause.
//!
//! ```text
//!  63                32 31                 0
//! +--------------------+--------------------+
//! |  movers at work    |       pauses       |
//! +--------------------+--------------------+
//! ```
//!
//! A mover works in short pieces, each under a [`MoveTicket`]; none begins while anybody has asked
//! for a pause, and whoever asks waits for the pieces that are under way.

use zs_sync::{AtomicU64, Host, Ordering, Peek, assert_may_block};

const ONE_PAUSE: u64 = 1;
const ONE_MOVER: u64 = 1 << 32;
const PAUSES: u64 = ONE_MOVER - 1;

/// The word of an arena's movers.
#[derive(Debug, Default)]
pub(crate) struct Moves(AtomicU64);

/// The right to move a few objects or frames; the piece of work ends with it.
#[derive(Debug)]
#[must_use = "moves end with the ticket"]
pub struct MoveTicket<'a>(&'a Moves);

/// No object or frame of the arena moves while this lives.
#[derive(Debug)]
#[must_use = "the pause ends with the value"]
pub struct MovesPaused<'a>(&'a Moves);

impl Moves {
    /// Begins a piece of work, unless a pause was asked for.
    pub(crate) fn begin(&self) -> Option<MoveTicket<'_>> {
        // Acquire pairs with the Release of a pause's end: what was done meanwhile comes before
        // the move.
        self.0
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |moves| {
                (moves & PAUSES == 0).then(|| moves + ONE_MOVER)
            })
            .ok()?;
        Some(MoveTicket(self))
    }

    /// Pauses all moves, and waits for the pieces of work that are under way.
    pub(crate) fn pause(&self, host: &dyn Host) -> MovesPaused<'_> {
        assert_may_block();
        self.0.fetch_add(ONE_PAUSE, Ordering::Relaxed);
        // Acquire pairs with the Release of a ticket's end: the moves that were are over.
        while self.0.peek(Ordering::Acquire) >= ONE_MOVER {
            host.yield_now();
        }
        MovesPaused(self)
    }
}

impl Drop for MoveTicket<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `pause`.
        self.0.0.fetch_sub(ONE_MOVER, Ordering::Release);
    }
}

impl Drop for MovesPaused<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `begin`.
        self.0.0.fetch_sub(ONE_PAUSE, Ordering::Release);
    }
}
