//! A dense allocator for compressed pages and other small blobs, after the Linux kernel's.
//!
//! Objects of 1 byte to a page lie in *zspages*: chains of up to 16 page frames, cut into slots of
//! one size class, whose frames come only when a slot needs them and go when the last object that
//! touches them goes. An object is reached by its *word*, 64 bits that say where it is and who is
//! inside; words belong to a client, a [`HandleTable`] or one of your own.
//!
//! Data model: `Pool -> size class -> zspage (record) -> frame entries -> frames`, and
//! `Handle -> word -> (zspage, slot, length)`, with a back reference from the slot to the word.
//!
//! ```
//! # use zs_os::{AnonBacking, HOST};
//! use zs_mm::{Arena, ArenaOptions};
//! use zsmalloc::{HandlePool, PoolOptions};
//!
//! let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(64 << 20))?;
//! let pool = HandlePool::new(arena, PoolOptions::named("blobs"))?;
//! let handle = pool.insert(b"a compressed page")?;
//! assert_eq!(pool.read(handle)?.len(), 17);
//! pool.free(handle)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | folder | responsibility | imports |
//! |---|---|---|
//! | `ids`, `geometry`, `client_bits`, `word`, `client`, `error` | numbers, classes, words, and the owner of words | |
//! | `record` | zspage records, and their memory | the above |
//! | `class` | the zspages of a size class, under one lock | the above |
//! | `handle_table` | the default client: words named by handles | the above |
//! | `pool` | a pool made and dropped; slots taken, frames given back | the above |
//! | `ways` | objects in, out, changed: insert, read, replace, write, map, free, flags | the above |
//! | `movers` | objects and frames moved: compaction, migration, upkeep | the above |
//! | `report` | figures, validation, a pool's end | the above |
//!
//! # Locking
//!
//! word < class; the leaves (records, handles, and those of zs-mm) with neither held. Readers take
//! nothing but a pin on the word. No lock is held while bytes are copied or frames are allocated.

#![cfg_attr(not(any(feature = "std", zs_loom)), no_std)]

mod class;
mod client;
mod client_bits;
mod error;
mod geometry;
mod handle_table;
mod ids;
mod movers;
mod pool;
mod record;
mod report;
mod ways;
mod word;

pub use class::FULLNESS_GROUPS;
pub use client::Client;
pub use client_bits::ClientBits;
pub use error::Error;
pub use geometry::{Geometry, MAX_CHAIN, MAX_SLOTS, SizeClass};
pub use handle_table::{Handle, HandleTable};
pub use ids::{CLASSES, ClassIndex, EntryIndex, SlotIndex, WordIndex, ZspageId};
pub use movers::compact::{CompactBudget, CompactEnd, CompactReport};
pub use movers::maintain::{MaintainBudget, MaintainEnd, MaintainReport};
pub use pool::{HandlePool, MAX_NAME, Pool, PoolOptions};
pub use report::destroy::{DestroyError, DestroyReport};
pub use report::stats::{ClassStats, PoolMetadata, PoolStats};
pub use report::validate::Invalid;
pub use ways::map::{MapMode, Mapping};
pub use ways::read::{ReadGuard, Spans};
pub use ways::read_many::ReadMany;
pub use word::{Layout, MAX_READERS, State, Target, Word};
