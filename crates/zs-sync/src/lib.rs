//! The one place that chooses atomics, cells and locks.
//!
//! Every crate above takes its shared state from here and from nowhere else, so that the
//! code that ships is the code that the model checker runs.
//!
//! Arms: **std** (the default: lock ranks are checked in debug builds), **core-only** (without the
//! `std` feature: nothing but `core`), **loom** (`--cfg zs_loom`: every access is tracked) and
//! **schedule** (`--cfg zs_schedule`: a seed says which thread runs at each access).
//!
//! Data model: `Table<cell>` and `Payload` over reserved memory; `Mutex<T>` with a [`Rank`];
//! a [`Host`] that lends a CPU hint, a clock and parking.
//!
//! | module | responsibility |
//! |---|---|
//! | `cell` | atomics, and the cells that a lock guards |
//! | `rank` | the ranked table of all locks, and its check |
//! | `host` | the hooks that the core takes from its host |
//! | `raw_lock` | the lock itself: spin, then park |
//! | `mutex` | a value behind a ranked lock |
//! | `hold_hook` | (feature `hold-hook`) benchmarks hear of every hold of a lock |
//! | `table` | a reserved range of cells |
//! | `payload` | a reserved range of raw bytes |
//! | `prefetch` | a hint to the processor |
//! | `schedule` | seeded schedules of threads; only with `--cfg zs_schedule` |
//!
//! # Locking
//!
//! See [`Rank`]: that table is the whole of it.

#![cfg_attr(not(any(feature = "std", zs_loom, zs_schedule)), no_std)]

mod cell;
#[cfg(all(feature = "hold-hook", not(zs_loom)))]
mod hold_hook;
mod host;
mod mutex;
mod payload;
mod prefetch;
mod rank;
mod raw_lock;
#[cfg(zs_schedule)]
pub mod schedule;
mod table;

pub use cell::{
    AtomicU32, AtomicU64, Dual32, Guarded32, Guarded64, Ordering, Peek, StaticCounter, fence,
};
#[cfg(all(feature = "hold-hook", not(zs_loom)))]
pub use hold_hook::{HoldEvent, HoldHook, set_hold_hook};
pub use host::{Host, SpinHost};
pub use mutex::{Mutex, MutexGuard};
pub use payload::Payload;
pub use prefetch::prefetch;
pub use rank::{Rank, assert_may_block, may_call_out};
pub use raw_lock::RawLock;
pub use table::{Pair, Table, TableCell};
