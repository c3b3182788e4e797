//! Pages from real sources: files, plain or zstd-compressed, and the memory of running processes.
//!
//! Data model: `files -> Collector, or processes -> survey -> PageFile (unlinked) -> MappedPages ->
//! &[u8]`. The bytes of all sources end up in one file without a name, as whole pages. Another
//! process can map that file without reading the sources again. [`survey`] samples running
//! processes, [`watch`] a command that it starts.
//!
//! ```
//! use zs_mm::PageSize;
//! use zs_pages::Collector;
//!
//! let mut collector = Collector::new(PageSize::K4)?;
//! collector.add_file("/proc/self/exe".as_ref(), &mut |_bytes| ())?;
//! let (file, sources) = collector.finish()?;
//! let pages = file.map()?;
//! assert_eq!(pages.len() as u64, sources[0].pages(PageSize::K4));
//! # Ok::<(), zs_pages::Error>(())
//! ```
//!
//! | module | responsibility |
//! |---|---|
//! | `source` | one file: opened with checks, unpacked |
//! | `collector` | files laid end to end, padded to whole pages |
//! | `process` | samples of the memory of processes |
//! | `holes` | holes of a file, and its parts with data |
//! | `spool` | the file that pages are appended to |
//! | `lengths` | lengths of 64 bits as lengths of memory |
//! | `page_file` | the finished file of pages, and its mapping |
//! | `data_pages` | the pages of that file that are no holes |
//! | `private_file` | a named file for captured pages |
//! | `same_filled` | pages of one repeated word |
//! | `error` | errors |

#![warn(clippy::cast_possible_truncation)]

mod collector;
mod data_pages;
mod error;
mod holes;
mod lengths;
mod page_file;
mod private_file;
mod process;
mod same_filled;
mod source;
mod spool;

pub use collector::{Collector, Source};
pub use data_pages::DataPages;
pub use error::{Error, Refusals};
pub use page_file::{MappedPages, PageFile};
pub use private_file::PrivateFile;
pub use process::{
    STRATA, SampleOptions, SampledProcess, SampledStratum, Skip, Skipped, Survey, Unread,
    UnreadReason, WatchedCommand, all_processes, printable, survey, system_page_size, watch,
};
pub use same_filled::same_filled;
