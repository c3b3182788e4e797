//! Where real pages come from: files, plain or zstd-compressed, laid end to end.
//!
//! Data model: `source -> Collector -> PageFile (unlinked) -> MappedPages -> &[u8]`. Whatever a source is, its bytes end
//! up in one file without a name, cut into whole pages, so that another process can map them without reading the source
//! again. Running processes and started commands will be further `add` methods of [`Collector`].
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
//! | `collector` | sources laid end to end, padded to whole pages |
//! | `page_file` | the file that they end up in, and its mapping |
//! | `fill` | pages of one repeated word |
//! | `error` | what can go wrong |

mod collector;
mod error;
mod fill;
mod page_file;
mod source;

pub use collector::{Collector, Source};
pub use error::Error;
pub use fill::same_filled;
pub use page_file::{MappedPages, PageFile};
