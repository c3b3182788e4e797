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
//! | module | responsibility |
//! |---|---|
//! | `geometry` | size classes |
//! | `word` | the 64 bits of an object, its states and transitions |
//! | `record`, `record_alloc` | zspage records, and their memory |
//! | `class` | the zspages of one class, listed by fullness |
//! | `client`, `handle_table` | who owns the words |
//! | `pool`, `destroy` | a pool: made, destroyed |
//! | `slot` | slots taken and cleared, frames attached and detached |
//! | `give_back` | what nothing uses, to the arena and the system |
//! | `spans` | where an object's bytes lie |
//! | `insert`, `read`, `replace`, `write`, `map`, `free` | one way through each |
//! | `read_many` | reads that the caller knows together, with memory fetched ahead |
//! | `flags` | the client's bits of a live word |
//! | `compact` | objects moved together |
//! | `migrate`, `drain`, `drains` | frames moved; their old places, while they are still being read |
//! | `maintain` | both kinds of moves, driven by one budget |
//! | `locate` | which frames an object lies in |
//! | `visit` | every object of a handle table |
//! | `stats`, `validate` | what is held, and whether it adds up |
//!
//! # Locking
//!
//! word < class; the leaves (records, handles, and those of zs-mm) with neither held. Readers take
//! nothing but a pin on the word. No lock is held while bytes are copied or frames are allocated.

#![cfg_attr(not(any(feature = "std", zs_loom)), no_std)]

mod class;
mod client;
mod client_bits;
mod compact;
mod destroy;
mod drain;
mod drains;
mod error;
mod flags;
mod free;
mod geometry;
mod give_back;
mod handle_table;
mod ids;
mod insert;
mod locate;
mod maintain;
mod map;
mod migrate;
mod pool;
mod read;
mod read_many;
mod record;
mod record_alloc;
mod replace;
mod slot;
mod spans;
mod stats;
mod validate;
mod visit;
mod word;
mod write;

pub use class::FULLNESS_GROUPS;
pub use client::Client;
pub use client_bits::ClientBits;
pub use compact::{CompactBudget, CompactEnd, CompactReport};
pub use destroy::{DestroyError, DestroyReport};
pub use error::Error;
pub use geometry::{Geometry, MAX_CHAIN, MAX_SLOTS, SizeClass};
pub use handle_table::{Handle, HandleTable};
pub use ids::{CLASSES, ClassIndex, EntryIndex, SlotIndex, WordIndex, ZspageId};
pub use maintain::{MaintainBudget, MaintainEnd, MaintainReport};
pub use map::{MapMode, Mapping};
pub use pool::{HandlePool, MAX_NAME, Pool, PoolOptions};
pub use read::{ReadGuard, Spans};
pub use read_many::ReadMany;
pub use stats::{ClassStats, PoolMetadata, PoolStats};
pub use validate::Invalid;
pub use word::{Layout, MAX_READERS, State, Target, Word};
