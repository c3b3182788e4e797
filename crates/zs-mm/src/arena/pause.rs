//! Movers let begin, and paused.

use crate::arena::Arena;
use crate::arena::moves::{MoveTicket, MovesPaused};
use crate::backing::Backing;

impl<B: Backing> Arena<B> {
    /// Lets a piece of a mover's work begin; `None` while moves are paused, here or by the host
    /// ([`Host::may_move`](zs_sync::Host::may_move)), and in a forked child. Never waits.
    pub fn begin_moves(&self) -> Option<MoveTicket<'_>> {
        if self.is_forked() || !self.host.may_move() {
            return None;
        }
        self.moves.begin()
    }

    /// Pauses all moves of objects and frames until the value is dropped, for instance while a
    /// child shares the memory. Several pauses may overlap. Stores, reads, frees and replaces
    /// go on.
    ///
    /// Waits for the piece of work that is under way: some 32 moves at most; the 128 of a batch of
    /// [`MigrateMode::SyncNoCopy`](crate::MigrateMode::SyncNoCopy). What a mover's caller
    /// gets meanwhile says that it was paused.
    pub fn pause_moves(&self) -> MovesPaused<'_> {
        self.moves.pause(self.host)
    }
}
