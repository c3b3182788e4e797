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

use crate::arena::Arena;
use crate::backing::Backing;
use zs_sync::{AtomicU64, Ordering, Peek, assert_may_block};

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

impl<B: Backing> Arena<B> {
    /// Lets a piece of a mover's work begin; `None` while moves are paused, here or by the host
    /// ([`Host::may_move`](zs_sync::Host::may_move)), and in a forked child. Never waits.
    pub fn begin_moves(&self) -> Option<MoveTicket<'_>> {
        if self.is_forked() || !self.host.may_move() {
            return None;
        }
        // Acquire pairs with the Release of a pause's end: what was done meanwhile comes before
        // the move.
        self.moves
            .0
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |moves| {
                (moves & PAUSES == 0).then(|| moves + ONE_MOVER)
            })
            .ok()?;
        Some(MoveTicket(&self.moves))
    }

    /// Pauses all moves of objects and frames until the value is dropped, for instance while a child
    /// shares the memory. Several pauses may overlap. Stores, reads, frees and replaces go on.
    ///
    /// Waits for the piece of work that is under way: some 32 moves at most; the 128 of a batch of
    /// [`MigrateMode::SyncNoCopy`](crate::MigrateMode::SyncNoCopy). What a mover's caller
    /// gets meanwhile says that it was paused.
    pub fn pause_moves(&self) -> MovesPaused<'_> {
        assert_may_block();
        self.moves.0.fetch_add(ONE_PAUSE, Ordering::Relaxed);
        // Acquire pairs with the Release of a ticket's end: the moves that were are over.
        while self.moves.0.peek(Ordering::Acquire) >= ONE_MOVER {
            self.host.yield_now();
        }
        MovesPaused(&self.moves)
    }
}

impl Drop for MoveTicket<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `pause_moves`.
        self.0.0.fetch_sub(ONE_MOVER, Ordering::Release);
    }
}

impl Drop for MovesPaused<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `begin_moves`.
        self.0.0.fetch_sub(ONE_PAUSE, Ordering::Release);
    }
}
