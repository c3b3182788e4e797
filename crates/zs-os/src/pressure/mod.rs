//! A thread that calls when the system, or a control group, is short of memory.
//!
//! Data model: `PressureSource -> Watched (a file that polls as ready) -> PressureWatcher (a thread)
//! -> Pressure -> the caller's closure`.
//!
//! | module | responsibility |
//! |---|---|
//! | `watcher` | the thread: waits, calls, rests, stops |
//! | `stalls` | time lost for want of memory: triggers on pressure stall information |
//! | `events` | limits met: the counters in a group's `memory.events` |
//! | `error` | what can go wrong, and the way round |
//!
//! # Locking
//!
//! None. The closure is called with nothing held, from a thread of its own.

mod error;
mod events;
mod stalls;
mod watcher;

pub use error::PressureError;
pub use events::MemoryEvents;
pub use stalls::StallTrigger;
pub use watcher::PressureWatcher;

use crate::pressure::events::EventsFile;
use crate::pressure::stalls::StallsFile;
use rustix::event::PollFlags;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to watch. A group is the folder of a version 2 control group, as from
/// [`own_cgroup`](crate::own_cgroup).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PressureSource {
    /// Time that tasks of the whole system lose for want of memory: `/proc/pressure/memory`.
    SystemStalls(StallTrigger),
    /// Time that tasks of a group, and of the groups below it, lose: its `memory.pressure`. Needs no
    /// memory controller, but write access to that file.
    GroupStalls {
        /// The group's folder.
        group: PathBuf,
        /// How much time, within which window.
        trigger: StallTrigger,
    },
    /// Limits of a group, or of a group below it, met: its `memory.events`. Needs the memory
    /// controller, and read access.
    ///
    /// The counters of the group alone (`memory.events.local`) are not what is watched: a group
    /// with processes in it has no group with a controller below it, so that both files agree, and
    /// whoever watches a group of groups wants to know what happens in it. A limit of a group
    /// *above* counts there: watch that one for it.
    GroupEvents {
        /// The group's folder.
        group: PathBuf,
        /// The least time between two calls, 1 ms to 1 h: the counters can rise thousands of times a
        /// second. What happens meanwhile is in the next call.
        interval: Duration,
    },
}

/// What a [`PressureWatcher`] calls with.
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
trait Watched: Send {
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

impl PressureSource {
    fn open(&self) -> Result<Box<dyn Watched>, PressureError> {
        Ok(match self {
            Self::SystemStalls(trigger) => {
                Box::new(StallsFile::open(Path::new(stalls::SYSTEM), *trigger)?)
            }
            Self::GroupStalls { group, trigger } => {
                require_cgroup2(group)?;
                Box::new(StallsFile::open(&group.join(stalls::OF_GROUP), *trigger)?)
            }
            Self::GroupEvents { group, interval } => {
                require_cgroup2(group)?;
                Box::new(EventsFile::open(group, *interval)?)
            }
        })
    }
}

/// Refuses a folder of another file system: a trigger would overwrite a plain file, and a plain file
/// never polls as ready.
fn require_cgroup2(group: &Path) -> Result<(), PressureError> {
    let system = rustix::fs::statfs(group)
        .map_err(|error| PressureError::of_file(group, error.into(), PressureError::no_group))?;
    if system.f_type == libc::CGROUP2_SUPER_MAGIC {
        Ok(())
    } else {
        Err(PressureError::NotCgroup2 {
            group: group.to_owned(),
        })
    }
}

/// Refuses a time out of bounds.
fn require_within(
    what: &'static str,
    given: Duration,
    [least, most]: [Duration; 2],
) -> Result<(), PressureError> {
    if (least..=most).contains(&given) {
        Ok(())
    } else {
        Err(PressureError::OutOfBounds {
            what,
            given,
            least,
            most,
        })
    }
}
