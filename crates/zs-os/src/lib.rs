//! System calls for memory, time, threads and processes, and for files below one folder. `zs-pages`
//! makes its own for the files of `/proc` that it reads, `zs-nbd` for its sockets.
//!
//! Data model: `Arena -> Backing -> region -> mapping (-> memfd)`; `Arena -> Host -> CPU, clock,
//! futex`. Linux on x86-64 and aarch64, whatever the page size.
//!
//! | module | responsibility |
//! |---|---|
//! | `page_size` | the page size of the operating system |
//! | `map` | the calls on mappings: reserve, populate, give back, advise, release |
//! | `anon` | a backing of private anonymous memory |
//! | `memfd` | a backing whose payload lies in a memfd |
//! | `zoned` | a backing with zones of every kind, on a chosen memory node |
//! | `shared_ranges` | ranges of payload that map files |
//! | `child` | child processes that are signalled while a thread waits for them |
//! | `signals` | ignored signals; orphans that became children of this process |
//! | `rlimit` | limits of this process: address space, open files |
//! | `file_lock` | locks on files and block devices |
//! | `folder` | files below one folder, whatever their names contain |
//! | `numa` | memory nodes |
//! | `fork` | a number for each process, and the forked children that share its memory |
//! | `punch_hole` | storage of files given back |
//! | `host` | the hooks of the core: CPU, clock, parking |
//! | `errno` | `errno`, for callers that are C programs |
//! | `copy_threads` | batches of frames copied by several threads |
//! | `periodic` | a thread that repeats one task |
//! | `decay_thread` | a periodic thread that makes an idle arena decay |
//! | `proactive_thread` | a periodic thread that compacts |
//! | `resident` | the resident-memory meter |
//! | `process_meter` | resident memory of this process without one mapping |
//! | `cgroup` | the folders of this process's control groups |
//! | `memory` | total and available memory |
//! | `memory_group` | memory that the control groups leave to this process |
//! | `pressure` | a thread that calls a closure when memory is short |
//! | [`testing`] | backings and a host for tests: heap, strict, failing, recording, hand-set clock |
//!
//! # Locking
//!
//! No function of this crate takes a lock of [`zs_sync::LockName`], and none may be called with one
//! held. The list of ranges that map files has a lock, held for a look-up only.

#![warn(clippy::cast_possible_truncation)]

mod anon;
mod cgroup;
mod child;
mod copy_threads;
mod decay_thread;
mod errno;
mod file_lock;
mod folder;
mod fork;
mod host;
mod map;
mod memfd;
mod memory;
mod memory_bound;
mod memory_group;
mod numa;
mod page_size;
mod periodic;
mod pressure;
mod proactive_thread;
mod process_meter;
mod punch_hole;
mod resident;
mod rlimit;
mod shared_ranges;
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
pub use host::{HOST, OsHost};
pub use memfd::{MemfdBacking, MemfdCommit};
pub use memory::{MemoryInfo, available_memory, memory_available, memory_info, parse_meminfo};
pub use memory_bound::{AvailableMemory, MemoryBound};
pub use page_size::os_page_size;
pub use periodic::{PeriodicThread, Stopping};
pub use pressure::{
    MemoryEvents, Pressure, PressureError, PressureSource, PressureWatcher, StallTrigger,
};
pub use proactive_thread::ProactiveThread;
pub use process_meter::ProcessMeter;
pub use punch_hole::punch_hole;
pub use resident::{Resident, ResidentError, ResidentMeter};
pub use rlimit::{address_space, raise_open_files};
pub use signals::{is_ignored, reap_orphans};
pub use zoned::{ZoneFileError, ZonedBacking};
