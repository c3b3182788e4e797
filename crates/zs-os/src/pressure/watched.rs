//! A file to wait for, and its events.

use super::error::PressureError;
use super::memory_events::MemoryEvents;
use rustix::event::PollFlags;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// An event that a [`PressureWatcher`](super::PressureWatcher) reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum Pressure {
    /// Tasks lost as much time as the trigger says. Reported at most once in each window of the
    /// trigger.
    Stalled,
    /// The number of times that each limit was met since the last call, or since the start. At
    /// least one counter is not 0.
    Events(MemoryEvents),
    /// The last call: watching has ended for this reason. If the group was removed, it is
    /// [`PressureError::GroupRemoved`].
    Ended(PressureError),
}

/// A file that the thread waits for.
pub(super) trait Watched: Send {
    /// Returns the file to poll for [`PollFlags::PRI`].
    fn file(&self) -> BorrowedFd<'_>;

    /// Returns the longest wait between two looks.
    fn idle(&self) -> Option<Duration>;

    /// Returns the least time between two looks.
    fn rest(&self) -> Duration;

    /// Returns the event since the last look, if there was one. An error ends the watch. `woken` is
    /// the result of `poll`, empty after an idle time.
    fn look(&mut self, woken: PollFlags) -> Result<Option<Pressure>, PressureError>;
}
