//! Pages of running processes: a random sample of their anonymous memory.
//!
//! `pids -> census (smaps -> pagemap -> runs of pages, each page once) -> parts of the sample ->
//! pages chosen -> read twice -> spool`
//!
//! | module | responsibility |
//! |---|---|
//! | `list` | which processes there are |
//! | `proc_dir` | what `/proc` says of one process |
//! | `smaps` | its mappings, and which are left out |
//! | `pagemap` | which of its pages are there, and in which frames |
//! | `scan_ioctl` | the same from a call that passes over holes |
//! | `shared_memory` | which mappings are shared memory |
//! | `seen` | pages that several processes share, each counted once |
//! | `census` | all pages of one process that may be sampled |
//! | `sampler` | which pages are read, and their reading |
//! | `survey` | all of that for some processes |
//! | `command` | a command that is started here, sampled at its largest moment |
//! | `stopped` | processes that stand still while they are sampled |
//! | `unread` | why a process was not read |

mod census;
mod command;
mod list;
mod pagemap;
mod proc_dir;
mod sampler;
mod scan_ioctl;
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
pub use list::all_processes;
pub(crate) use list::check_proc_is_mounted;
pub use proc_dir::printable;
pub use smaps::Skip;
pub use survey::{
    SampleOptions, SampledProcess, SampledStratum, Survey, Unread, survey, system_page_size,
};
pub use unread::{Skipped, UnreadReason};
