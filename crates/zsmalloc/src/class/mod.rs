//! One size class: its zspages, what they hold, and the lock under which that changes.
//!
//! | module | responsibility |
//! |---|---|
//! | `lists` | the zspages, listed by fullness |
//! | `context` | looks at a class and its zspages |
//! | `locked` | every change: slots taken and cleared, frames attached, moved, detached |
//!
//! # Locking
//!
//! A class's state is reached with its class lock only, which guards the guarded cells of its
//! zspages' records as well. Under it nothing waits, nothing is allocated and nothing is copied.

mod context;
mod lists;
mod locked;

pub(crate) use context::ClassContext;
pub use lists::FULLNESS_GROUPS;
pub(crate) use lists::{ClosedSet, Cursor};
pub(crate) use locked::{ClassState, LockedClass, Released};
