//! Page frames: an arena with a hard limit, made of pageblocks, handed out through per-CPU caches.
//!
//! Data model: `Arena -> Zone -> pageblock (2 MiB) -> frame (4, 16 or 64 KiB)`; one descriptor of
//! 8 bytes a frame, one record a pageblock, nothing in the frames themselves.
//!
//! | folder | responsibility | imports |
//! |---|---|---|
//! | `size`, `zone_spec`, `frame_status`, `error`, `backing`, `options` | sizes and ids; what a user asks for, and is told | |
//! | `meta` | tables of metadata and the limit that counts them; the state of a page of a table | the above |
//! | `frame` | one frame: its descriptor; sets and caches of frames | the above |
//! | `zone` | a range of pageblocks under one lock: records, lists, counters | the above |
//! | `arena` | the whole: frames in and out, tables for owners, reserves, counters | the above |
//! | `movable` | frames moved while they are in use | the above |
//! | `policy` | compaction, contiguous ranges, zones that go offline, balloons, tiers | the above |
//!
//! # Locking
//!
//! A frame cache and a zone each have a lock; both are leaves (see [`zs_sync::LockName`]), neither
//! is taken while the other is held, and no lock is held while the backing is called.

#![cfg_attr(not(any(feature = "std", zs_loom)), no_std)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod arena;
mod backing;
mod error;
mod frame;
mod frame_status;
mod meta;
mod movable;
mod options;
mod policy;
mod size;
mod zone;
mod zone_spec;

pub use arena::Arena;
pub use arena::arena_ref::ArenaRef;
pub use arena::block_state::BlockState;
pub use arena::frames::Frame;
pub use arena::move_counters::ZoneMoves;
pub use arena::moves::{MoveTicket, MovesPaused};
pub use arena::opened_pages::{OpenedPages, Transit, UnderWay};
pub use arena::paged::{PageStates, PagedTable, TablePage};
pub use arena::stats::{ArenaStats, InvalidState};
pub use backing::{Advice, Backing, BackingError, RegionKind};
pub use error::{Error, InvalidArena};
pub use frame::descriptor::{Descriptor, FrameOwner, FrameType, PoolKey};
pub use frame_status::{FrameStatus, MigrateReason};
pub use meta::budget::Charge;
pub use meta::table::MetaTable;
pub use movable::{
    Anywhere, Collected, CopyBatch, CopyEngine, Destination, FrameCopy, FrameFlags, FrameLock,
    InZone, Isolated, MigrateEnd, MigrateMode, MigrateOptions, MigrateReport, Movable, PIECE,
    Prepared, PutBack,
};
pub use options::ArenaOptions;
pub use policy::balloon::Balloon;
pub use policy::compaction::{CompactEnd, CompactOptions, CompactReport};
pub use policy::contiguous::Contiguous;
pub use size::{
    BLOCK_BYTES, FrameId, MAX_ARENA_BYTES, MAX_POOLS, MAX_ZONES, PageSize, ZoneId, as_index, wide,
};
pub use zone_spec::{ZoneKind, ZoneRefusal, ZoneSpec, ZoneSpecs};
