//! A compressed block store in user space, after the Linux kernel's zram: bytes at offsets, as a
//! disk has them, in compressed memory.
//!
//! Data model: `block -> word -> hole | pattern | object (zsmalloc) | extent (backing file) |
//! shared object`. A block's word and its object's word are one: 8 bytes a block where anything is
//! stored, and nothing where nothing is.
//!
//! ```
//! use zram::{Store, StoreOptions};
//!
//! let store = Store::new(StoreOptions::new(1 << 30))?;
//! store.write(4096, &[7; 100])?;
//! let mut bytes = [0; 200];
//! store.read(4000, &mut bytes)?;
//! assert_eq!((bytes[95], bytes[96], bytes[195], bytes[196]), (0, 7, 7, 0));
//! store.discard(0, 1 << 30)?;
//! # Ok::<(), zram::Error>(())
//! ```
//!
//! | folder | responsibility | imports |
//! |---|---|---|
//! | `ids`, `error` | numbers of blocks and shared objects, each a type; errors | |
//! | `block` | what a block's word says; the table of all words; shared objects; threads that wait | the above |
//! | `codecs` | algorithms, buffers to work in, patterns, padding | the above |
//! | `counters` | events and times, counted | the above |
//! | `backing` | the file that blocks are written back to | the above |
//! | `store` | a store: made, resized, reset; the lock of a block; requests cut into blocks | the above |
//! | `ways` | read, write, zero: one way through each | the above |
//! | `passes` | idle marks, recompression, deduplication, dictionaries, writeback | the above |
//! | `snapshot` | the whole store to a file, and back | the above |
//! | `report` | figures, ranges, validation | the above |
//!
//! # Locking
//!
//! A block's lock is a bit of its word; a thread holds at most one. Under it come the locks of
//! `zsmalloc` and `zs-mm`, a codec's stream, and the short locks of `dedup` and `writeback`.
//! Readers of holes, patterns and objects take none.

mod backing;
mod block;
mod codecs;
mod counters;
mod error;
mod ids;
mod passes;
mod report;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod ways;

pub use backing::file::{BackingFile, BlockFile, FileId};
pub use counters::histogram::Histogram;
pub use error::Error;
pub use passes::idle::IdleRule;
pub use passes::recompress::{Recompress, RecompressReport};
pub use passes::scan::BlockFilter;
pub use passes::writeback::{RecordForm, WritebackEnd, WritebackReport, WritebackRequest};
pub use report::stats::{AlgorithmStats, StoreStats};
pub use report::status::{RangeKind, RangeStatus, StoredSize};
pub use snapshot::SnapshotOptions;
pub use store::options::StoreOptions;
pub use store::{Alone, Attachment, Store};
pub use ways::zero::Zeroes;
pub use zcomp::{Algorithm, Dictionary};
pub use zs_mm::PageSize as BlockSize;
pub use zsmalloc::{CompactBudget, CompactReport, MaintainBudget, MaintainReport};
