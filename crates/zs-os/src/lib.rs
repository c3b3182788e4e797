//! Every system call: real memory, clocks and parking, and what the system says of memory.
//!
//! Data model: `Arena -> Backing -> region -> mapping (-> memfd)`; `Arena -> Host -> CPU, clock,
//! futex`. Linux on x86-64 and aarch64, whatever the page size.
//!
//! | module | responsibility |
//! |---|---|
//! | `page` | the page size of the operating system |
//! | `map` | the few calls on mappings: reserve, populate, give back, advise, release |
//! | `anon` | a backing of private anonymous memory |
//! | `memfd` | a backing whose payload lies in a memfd |
//! | `zoned` | a backing with zones of every kind, on a node of choice |
//! | `shared` | ranges of payload that show files |
//! | `child` | children that are signalled while somebody waits for them |
//! | `signals` | which signals are ignored; children that were left to this process |
//! | `rlimit` | limits of this process: address space, open files |
//! | `file_lock` | files for one user at a time |
//! | `folder` | files below one folder, whatever their names say |
//! | `numa` | memory nodes |
//! | `fork` | which process this is, and whether a forked child shares its memory |
//! | `hole` | storage of files given back |
//! | `host` | the hooks of the core: CPU, clock, parking |
//! | `errno` | `errno`, for callers that are C programs |
//! | `copy_threads` | batches of frames copied by several threads |
//! | `periodic` | a thread that does one thing again and again |
//! | `decay_thread` | one that makes an idle arena decay |
//! | `proactive_thread` | one that compacts |
//! | `resident` | the resident-memory meter |
//! | `process_meter` | the same for a process that measures itself |
//! | `cgroup` | where the files of the process's control groups are |
//! | `memory` | total and available memory |
//! | `memory_group` | how much of it the control groups leave |
//! | `pressure` | a thread that calls when memory is short |
//! | [`testing`] | backings and a host for tests: heap, strict, failing, recording, hand-set clock |
//!
//! # Locking
//!
//! Nothing here takes a lock of [`zs_sync::LockName`], and nothing here may be called with one
//! held. The list of ranges that show files has a lock of its own, held for a look-up only.

mod anon;
mod cgroup;
mod child;
mod copy_threads;
mod decay_thread;
mod errno;
mod file_lock;
mod folder;
mod fork;
mod hole;
mod host;
mod map;
mod memfd;
mod memory;
mod memory_bound;
mod memory_group;
mod numa;
mod page;
mod periodic;
mod pressure;
mod proactive_thread;
mod process_meter;
mod resident;
mod rlimit;
mod shared;
mod short_lock;
mod signals;
pub mod testing;
mod zoned;

pub use anon::AnonBacking;
pub use cgroup::{CgroupError, own_cgroup};
pub use child::{ChildId, Recipient};
pub use copy_threads::CopyThreads;
pub use decay_thread::DecayThread;
pub use errno::{Errno, set_errno};
pub use file_lock::{lock_file, open_claimed};
pub use folder::Folder;
pub use hole::punch_hole;
pub use host::{HOST, OsHost};
pub use memfd::{MemfdBacking, MemfdCommit};
pub use memory::{MemoryInfo, available_memory, memory_available, memory_info, parse_meminfo};
pub use memory_bound::{AvailableMemory, MemoryBound};
pub use page::os_page_size;
pub use periodic::{PeriodicThread, Stopping};
pub use pressure::{
    MemoryEvents, Pressure, PressureError, PressureSource, PressureWatcher, StallTrigger,
};
pub use proactive_thread::ProactiveThread;
pub use process_meter::ProcessMeter;
pub use resident::{Resident, ResidentError, ResidentMeter};
pub use rlimit::{address_space, raise_open_files};
pub use signals::{is_ignored, reap_orphans};
pub use zoned::{ZoneFileError, ZonedBacking};
