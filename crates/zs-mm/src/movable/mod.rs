//! MIGRATE: frames move, and whoever reads what is in them goes on.
//!
//! frame -> isolated (no new object) -> nobody writes to it -> bytes copied -> the owner names the
//! new frame -> the old one is freed, or drains until its readers have left
//!
//! | module | responsibility |
//! |---|---|
//! | `contract` | what an owner of movable frames must do |
//! | `lock` | the frame lock |
//! | `token` | a frame that is isolated |
//! | `copy` | batches of frames to be copied, and who copies them |
//! | `status` | what is asked of a migration, and what it answers |
//! | `migrate` | lists of frames moved, in batches and passes |
//! | `steps` | the same in three steps, for callers who copy themselves |
//! | `destination` | where frames go |
//! | `counting` | what is isolated, draining, moved, by zone |
//!
//! # Locking
//!
//! The frame lock is a bit of the frame's descriptor; it is held while the owner is called, and
//! ranks before every other lock. Between isolation and move it is released: what keeps the frame
//! then is the token. A piece of work of at most [`PIECE`] frames (a batch, if all of it is copied
//! at once) has a mover's ticket, so that a pause
//! ([`Arena::pause_moves`](crate::Arena::pause_moves)) waits for no more.

mod contract;
mod copy;
mod counting;
mod destination;
mod lock;
mod migrate;
mod status;
mod steps;
mod token;

pub use contract::{Movable, Prepared, PutBack};
pub use copy::{CopyBatch, CopyEngine, FrameCopy};
pub use destination::{Anywhere, Destination, InZone};
pub use lock::FrameLock;
pub use status::{MigrateEnd, MigrateMode, MigrateOptions, MigrateReport};
pub use steps::{Collected, FrameFlags};
pub use token::Isolated;

/// Frames of one piece of a mover's work.
pub const PIECE: usize = if cfg!(zs_loom) { 2 } else { 32 };
