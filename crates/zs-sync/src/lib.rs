//! The one place that chooses atomics, cells and locks.
//!
//! `zs-mm` and `zsmalloc` take their shared state from here and from nowhere else (`cargo xtask
//! layers` checks it), so that the code that ships is the code that the model checker runs. What
//! threads race on in other crates and has a model takes it from here, too.
//!
//! Arms: **std** (the default: locks are checked in debug builds), **core-only** (without the
//! `std` feature: nothing but `core`), **loom** (`--cfg zs_loom`: every access is tracked) and
//! **schedule** (`--cfg zs_schedule`: a seed says which thread runs at each access).
//!
//! Data model: `Table<cell>` and `Payload` over reserved memory; `Mutex<T>` with a [`LockName`];
//! a [`Host`] that lends a CPU hint, a clock and parking.
//!
//! | module | responsibility |
//! |---|---|
//! | `cell` | atomics, and the cells that a lock guards |
//! | `lock_name` | the table of all locks; a thread holds one of them at a time |
//! | `host` | the hooks that the core takes from its host |
//! | `raw_lock` | the lock itself: spin, then park |
//! | `mutex` | a value behind a lock of the table |
//! | `hold_hook` | (feature `hold-hook`) benchmarks hear of every hold of a lock |
//! | `table` | a reserved range of cells |
//! | `payload` | a reserved range of raw bytes |
//! | `prefetch` | a hint to the processor |
//! | `schedule` | seeded schedules of threads; only with `--cfg zs_schedule` |
//!
//! # Locking
//!
//! See [`LockName`]: that table is the whole of it.

#![cfg_attr(not(any(feature = "std", zs_loom, zs_schedule)), no_std)]

mod cell;
#[cfg(all(feature = "hold-hook", not(zs_loom)))]
mod hold_hook;
mod host;
mod lock_name;
mod mutex;
mod payload;
mod prefetch;
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
pub use lock_name::{LockName, assert_may_block, may_call_out};
pub use mutex::{Mutex, MutexGuard};
pub use payload::Payload;
pub use prefetch::prefetch;
pub use raw_lock::RawLock;
pub use table::{Pair, Table, TableCell};
