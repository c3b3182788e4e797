//! A thread that calls a closure when the system, or a control group, is short of memory.
//!
//! Data model: `PressureSource -> Watched (a file that polls as ready) -> PressureWatcher (a
//! thread) -> Pressure -> the caller's closure`.
//!
//! | module | responsibility |
//! |---|---|
//! | `watched` | a file to wait for, and its events |
//! | `trigger`, `memory_events` | the threshold of lost time; the counters of limits |
//! | `watcher` | the thread: it waits, calls the closure, rests, stops |
//! | `stalls` | triggers on pressure stall information: time lost for want of memory |
//! | `events` | limits of a group that were met: the counters in its `memory.events` |
//! | `error` | errors, and their remedies |
//!
//! # Locking
//!
//! None. The closure is called without a lock held, on a thread of its own.

mod error;
mod events;
mod memory_events;
mod stalls;
mod trigger;
mod watched;
mod watcher;

pub use error::PressureError;
pub use memory_events::MemoryEvents;
pub use trigger::StallTrigger;
pub use watched::Pressure;
pub use watcher::PressureWatcher;

use crate::pressure::events::EventsFile;
use crate::pressure::stalls::StallsFile;
use crate::pressure::watched::Watched;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file to watch. A group is the folder of a version 2 control group, for example from
/// [`own_cgroup`](crate::own_cgroup).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PressureSource {
    /// The time that tasks of the whole system lose for want of memory: `/proc/pressure/memory`.
    SystemStalls(StallTrigger),
    /// The time that tasks of a group and of the groups below it lose: its `memory.pressure`. Needs
    /// write access to that file, but no memory controller.
    GroupStalls {
        /// The group's folder.
        group: PathBuf,
        /// The lost time, and the window.
        trigger: StallTrigger,
    },
    /// The limits that a group, or a group below it, meets: its `memory.events`. Needs read access
    /// and the memory controller.
    ///
    /// The counters of the group alone (`memory.events.local`) are not watched. A group with
    /// processes has no group with a controller below it, so both files agree for it; and for a
    /// group of groups, their events are wanted. A limit of a group *above* counts in that group:
    /// watch it instead.
    GroupEvents {
        /// The group's folder.
        group: PathBuf,
        /// The least time between two calls, 1 ms to 1 h, because the counters can rise thousands
        /// of times a second. The next call includes all events since the last one.
        interval: Duration,
    },
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

/// Checks that a folder lies on a cgroup2 file system. On another one, a trigger would overwrite a
/// plain file, and a plain file never becomes ready.
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
