//! Page frames: an arena with a hard limit, made of pageblocks, handed out through per-CPU caches.
//!
//! Data model: `Arena -> Zone -> pageblock (2 MiB) -> frame (4, 16 or 64 KiB)`; one descriptor of
//! 8 bytes a frame, one record a pageblock, nothing in the frames themselves.
//!
//! | module | responsibility |
//! |---|---|
//! | `size` | frame sizes, and what follows from one |
//! | `backing` | the contract with whoever owns real memory |
//! | `budget` | the hard limit |
//! | `meta` | tables of metadata, committed as they grow |
//! | `paged`, `page_state`, `opened_pages` | tables whose pages get memory, and lose it, one by one |
//! | `descriptor` | the 8 bytes of a frame |
//! | `mask` | sets of frames within one pageblock |
//! | `block` | pageblock records, and the lists that link them |
//! | `block_state` | the same, as a user sees it |
//! | `zone` | a range of pageblocks under one lock |
//! | `cache` | a few free frames for each CPU |
//! | `zone_spec` | what zones are to be made of |
//! | `claims` | who owns what |
//! | `options`, `arena` | the whole: made of parts, and who owns what |
//! | `tables` | metadata for the owners of tables |
//! | `arena_ref` | how a pool holds its arena |
//! | `frame` | frames allocated and freed |
//! | `moves`, `pause` | movers at work, and who makes them pause |
//! | `movable` | frames moved while they are in use |
//! | `balloon` | frames out of use, without memory |
//! | `give_back` | frames to the OS: trim, decay, huge advice |
//! | `limit` | the hard limit set anew |
//! | `zones` | the zones of an arena as a user sees them |
//! | `reserve` | blocks kept from everybody, frames taken by their place |
//! | `clear` | what is in use of some frames moved away |
//! | `survey` | where neighbouring frames could be had |
//! | `contiguous` | neighbouring frames at once |
//! | `compaction`, `compaction_state`, `scanner` | frames moved together within a zone |
//! | `proactive` | the same by a measure of fragmentation |
//! | `offline` | frames and zones that go out of use |
//! | `stats` | what is held, and `validate()` |
//!
//! # Locking
//!
//! A frame cache and a zone each have a lock; both are leaves (see [`zs_sync::LockName`]), neither
//! is taken while the other is held, and no lock is held while the backing is called.

#![cfg_attr(not(any(feature = "std", zs_loom)), no_std)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod arena;
mod arena_ref;
mod backing;
mod balloon;
mod block;
mod block_state;
mod budget;
mod cache;
mod claims;
mod clear;
mod compaction;
mod compaction_state;
mod contiguous;
mod descriptor;
mod error;
mod frame;
mod frame_status;
mod give_back;
mod limit;
mod mask;
mod meta;
mod movable;
mod move_counters;
mod moves;
mod offline;
mod opened_pages;
mod options;
mod page_state;
mod paged;
mod pause;
mod proactive;
mod reserve;
mod scanner;
mod size;
mod stats;
mod survey;
mod tables;
mod zone;
mod zone_spec;
mod zones;

pub use arena::Arena;
pub use arena_ref::ArenaRef;
pub use backing::{Advice, Backing, BackingError, RegionKind};
pub use balloon::Balloon;
pub use block_state::BlockState;
pub use budget::Charge;
pub use compaction::{CompactEnd, CompactOptions, CompactReport};
pub use contiguous::Contiguous;
pub use descriptor::{Descriptor, FrameOwner, FrameType, PoolKey};
pub use error::{Error, InvalidArena};
pub use frame::Frame;
pub use frame_status::{FrameStatus, MigrateReason};
pub use meta::MetaTable;
pub use movable::{
    Anywhere, Collected, CopyBatch, CopyEngine, Destination, FrameCopy, FrameFlags, FrameLock,
    InZone, Isolated, MigrateEnd, MigrateMode, MigrateOptions, MigrateReport, Movable, PIECE,
    Prepared, PutBack,
};
pub use move_counters::ZoneMoves;
pub use moves::{MoveTicket, MovesPaused};
pub use opened_pages::{OpenedPages, Transit, UnderWay};
pub use options::ArenaOptions;
pub use paged::{PageStates, PagedTable, TablePage};
pub use size::{BLOCK_BYTES, FrameId, MAX_ARENA_BYTES, MAX_POOLS, MAX_ZONES, PageSize, ZoneId};
pub use stats::{ArenaStats, InvalidState};
pub use zone_spec::{ZoneKind, ZoneRefusal, ZoneSpec, ZoneSpecs};
