//! Random samples of the memory of running processes.
//!
//! Data model: `pids -> census (smaps -> pagemap -> runs of pages, each page once) -> share of the
//! sample for each process -> chosen pages -> read twice -> spool`.
//!
//! | module | responsibility |
//! |---|---|
//! | `process_list` | the numbers of all processes |
//! | `proc_dir` | the folder of one process in `/proc` |
//! | `smaps` | its mappings, and those that are left out |
//! | `pagemap` | its pages in memory or in swap, and their frames |
//! | `scan_ioctl` | its pages by kind, from a system call that skips holes |
//! | `shared_memory` | mappings of shared memory |
//! | `seen` | pages that several processes share, each counted once |
//! | `census` | all pages of one process that may be sampled, counted |
//! | `sampler` | chooses pages at random, and reads them |
//! | `survey` | a sample of several processes |
//! | `command` | a command that is started here, and sampled when it is largest |
//! | `schedule` | the times at which a command is sampled |
//! | `stopped` | processes that are stopped while they are sampled |
//! | `unread` | the reasons why a process was not read |

mod census;
mod command;
mod pagemap;
mod proc_dir;
mod process_list;
mod sampler;
mod scan_ioctl;
mod schedule;
mod seen;
mod shared_memory;
mod smaps;
mod stopped;
mod survey;
#[cfg(test)]
mod tests;
mod unread;

pub use census::STRATA;
pub use command::{WatchedCommand, watch};
pub use proc_dir::printable;
pub use process_list::all_processes;
pub(crate) use process_list::check_proc_is_mounted;
pub use smaps::Skip;
pub use survey::{
    SampleOptions, SampledProcess, SampledStratum, Survey, Unread, survey, system_page_size,
};
pub use unread::{Skipped, UnreadReason};
