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
//! | module | responsibility |
//! |---|---|
//! | `ids` | numbers of blocks and shared objects, each a type |
//! | `options`, `store` | a store: made, resized, reset; who is attached |
//! | `content` | what a block's word says |
//! | `table` | the words: sparse, and the pool's client |
//! | `lock`, `waiters` | the lock of one block |
//! | `range` | requests cut into blocks |
//! | `write`, `read`, `zero`, `shrink` | one way through each; zeros in a part of a block |
//! | `same`, `padding` | blocks of one repeated word, and objects longer than what is in them |
//! | `codecs`, `streams`, `scratch` | algorithms, and buffers to work in |
//! | `status` | which ranges hold what, and what that takes |
//! | `scan`, `idle`, `recompress` | passes over the store |
//! | `writeback` | blocks to a file, and back |
//! | `dedup`, `dedup_index` | identical blocks once |
//! | `dictionary` | dictionaries from the store's blocks |
//! | `snapshot` | the whole store to a file, and back |
//! | `manage` | memory given back |
//! | `stats`, `counters`, `histogram`, `timing`, `validate` | what there is, and whether it adds up |
//!
//! # Locking
//!
//! A block's lock is a bit of its word; a thread holds at most one. Under it come the locks of
//! `zsmalloc` and `zs-mm`, a codec's stream, and the short locks of `dedup` and `writeback`.
//! Readers of holes, patterns and objects take none.

mod codecs;
mod content;
mod counters;
mod dedup;
mod dedup_index;
mod dictionary;
mod error;
mod histogram;
mod idle;
mod ids;
mod lock;
mod manage;
mod options;
mod padding;
mod range;
mod read;
mod recompress;
mod same;
mod scan;
mod scratch;
mod shrink;
mod snapshot;
mod stats;
mod status;
mod store;
mod streams;
mod table;
#[cfg(test)]
mod tests;
mod timing;
mod validate;
mod waiters;
mod write;
mod writeback;
mod zero;

pub use error::Error;
pub use histogram::Histogram;
pub use idle::IdleRule;
pub use options::StoreOptions;
pub use recompress::{Recompress, RecompressReport};
pub use scan::BlockFilter;
pub use snapshot::SnapshotOptions;
pub use stats::{AlgorithmStats, StoreStats};
pub use status::{RangeKind, RangeStatus, StoredSize};
pub use store::{Alone, Attachment, Store};
pub use writeback::{
    BackingFile, BlockFile, FileId, RecordForm, WritebackEnd, WritebackReport, WritebackRequest,
};
pub use zcomp::{Algorithm, Dictionary};
pub use zero::Zeroes;
pub use zs_mm::PageSize as BlockSize;
pub use zsmalloc::{CompactBudget, CompactReport, MaintainBudget, MaintainReport};
