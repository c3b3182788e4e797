//! A file to wait at, and what it tells.

use super::error::PressureError;
use super::memory_events::MemoryEvents;
use rustix::event::PollFlags;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The event of which a [`PressureWatcher`](super::PressureWatcher) tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum Pressure {
    /// Tasks lost as much time as the trigger says. At most once in each window of the trigger.
    Stalled,
    /// How often each limit was met since the last call, or since the watcher began. At least one
    /// counter is not 0.
    Events(MemoryEvents),
    /// The last call: nothing is watched any more, and why. A group that was removed is
    /// [`PressureError::GroupRemoved`].
    Ended(PressureError),
}

/// A file that the thread waits at.
pub(super) trait Watched: Send {
    /// Returns what to poll for [`PollFlags::PRI`].
    fn file(&self) -> BorrowedFd<'_>;

    /// Returns the longest wait between two looks.
    fn idle(&self) -> Option<Duration>;

    /// Returns the least time between two looks.
    fn rest(&self) -> Duration;

    /// Returns what has happened; an error ends the watch. `woken` is the answer of the poll, empty
    /// after an idle time.
    fn look(&mut self, woken: PollFlags) -> Result<Option<Pressure>, PressureError>;
}
