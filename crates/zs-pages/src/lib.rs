//! Where real pages come from: files, plain or zstd-compressed, and the memory of running
//! processes.
//!
//! Data model: `files -> Collector, or processes -> survey -> PageFile (unlinked) -> MappedPages ->
//! &[u8]`. Whatever a source is, its bytes end up in one file without a name, cut into whole pages,
//! so that another process can map them without reading the source again. [`survey`] samples
//! processes that run, [`watch`] a command that it starts.
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
//! | `process` | the anonymous pages of processes, sampled |
//! | `holes` | which parts of a file are holes |
//! | `spool` | the file that they are appended to |
//! | `page_file` | the same when it is whole, and its mapping |
//! | `data_pages` | its pages that are no holes |
//! | `private_file` | a file with a name for captured pages |
//! | `fill` | pages of one repeated word |
//! | `error` | what can go wrong |

mod collector;
mod data_pages;
mod error;
mod fill;
mod holes;
mod page_file;
mod private_file;
mod process;
mod source;
mod spool;

pub use collector::{Collector, Source};
pub use data_pages::DataPages;
pub use error::{Error, Refusals};
pub use fill::same_filled;
pub use page_file::{MappedPages, PageFile};
pub use private_file::PrivateFile;
pub use process::{
    STRATA, SampleOptions, SampledProcess, SampledStratum, Skip, Skipped, Survey, Unread,
    UnreadReason, WatchedCommand, all_processes, printable, survey, system_page_size, watch,
};
