//! A thread that calls when the system, or a control group, is short of memory.
//!
//! Data model: `PressureSource -> Watched (a file that polls as ready) -> PressureWatcher (a
//! thread) -> Pressure -> the caller's closure`.
//!
//! | module | responsibility |
//! |---|---|
//! | `watched` | a file to wait at, and what it tells |
//! | `trigger`, `memory_events` | what is asked of a file, and what another counts |
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

/// What to watch. A group is the folder of a version 2 control group, as from
/// [`own_cgroup`](crate::own_cgroup).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PressureSource {
    /// Time that tasks of the whole system lose for want of memory: `/proc/pressure/memory`.
    SystemStalls(StallTrigger),
    /// Time that tasks of a group, and of the groups below it, lose: its `memory.pressure`. Needs
    /// no memory controller, but write access to that file.
    GroupStalls {
        /// The group's folder.
        group: PathBuf,
        /// The lost time, and the window.
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
        /// The least time between two calls, 1 ms to 1 h: the counters can rise thousands of times
        /// a second. What happens meanwhile is in the next call.
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

/// Refuses a folder of another file system: a trigger would overwrite a plain file, and a plain
/// file never polls as ready.
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
