//! What is asked of a migration, and what it answers.

use super::copy::{CopyEngine, Inline};
use crate::frame_status::{FrameStatus, MigrateReason};
use core::fmt;

/// How much a migration may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MigrateMode {
    /// Never waits: a frame that is locked, or whose owner is busy with it, is tried again a few
    /// times.
    #[default]
    Async,
    /// Waits for frame locks, not for a busy owner.
    SyncLight,
    /// As `Async` first; then what is left one by one, waiting for its owner up to a limit.
    Sync,
    /// All frames of a batch are locked, copied together by a [`CopyEngine`], and handed over; then
    /// what is left as in `Sync`.
    SyncNoCopy,
}

/// How a migration is to be done. Start from [`MigrateOptions::new`].
#[derive(Clone, Copy)]
pub struct MigrateOptions<'a> {
    /// How much it may wait.
    pub mode: MigrateMode,
    /// What it is for: counted apart.
    pub reason: MigrateReason,
    /// How long one try of `Sync` waits for a busy owner, in nanoseconds; default 100 us. (By a
    /// host without a clock: some turns of other threads.)
    pub wait_ns: u64,
    /// Who copies the batches of `SyncNoCopy`. Default: the calling thread.
    pub engine: &'a dyn CopyEngine,
    /// Asked before every few frames, with no lock held; false ends the call.
    pub go_on: &'a (dyn Fn() -> bool + Sync),
}

impl MigrateOptions<'_> {
    /// Makes a mode, and the defaults for the rest.
    pub const fn new(mode: MigrateMode) -> Self {
        Self {
            mode,
            reason: MigrateReason::List,
            wait_ns: 100_000,
            engine: &Inline,
            go_on: &|| true,
        }
    }

    /// The same for another reason.
    #[must_use]
    pub const fn because(self, reason: MigrateReason) -> Self {
        Self { reason, ..self }
    }
}

impl fmt::Debug for MigrateOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MigrateOptions")
            .field("mode", &self.mode)
            .field("reason", &self.reason)
            .field("wait_ns", &self.wait_ns)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// Why a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MigrateEnd {
    /// Every frame was tried.
    #[default]
    Done,
    /// There was no frame to move one to.
    NoMemory,
    /// The caller wished so.
    Stopped,
    /// Moves are paused ([`Arena::pause_moves`](crate::Arena::pause_moves), or by a forked child
    /// that shares the memory).
    Paused,
}

/// What a migration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MigrateReport {
    /// Why it ended.
    pub end: MigrateEnd,
    /// Frames that were moved.
    pub moved: u64,
    /// Frames that were freed instead, as nothing in them was in use any more.
    pub freed: u64,
    /// Frames that are where they were: all others but those that were free.
    pub not_moved: u64,
    /// Attempts to move a frame that were made again.
    pub retried: u64,
    /// Bytes that were copied.
    pub bytes_copied: u64,
}

impl MigrateReport {
    /// Counts one frame's outcome.
    pub(super) fn count(&mut self, status: FrameStatus) {
        match status {
            FrameStatus::Moved(_) => self.moved += 1,
            FrameStatus::Freed => self.freed += 1,
            FrameStatus::NotInUse => {}
            _ => self.not_moved += 1,
        }
    }

    /// Adds what another call did; its end is this one's.
    pub fn add(&mut self, other: &Self) {
        self.end = other.end;
        self.moved += other.moved;
        self.freed += other.freed;
        self.not_moved += other.not_moved;
        self.retried += other.retried;
        self.bytes_copied += other.bytes_copied;
    }
}
