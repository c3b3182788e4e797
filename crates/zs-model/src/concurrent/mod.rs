//! Threads on shared pools, under a seeded schedule, and what must have come of it.
//!
//! Data model: `seed -> Scene -> run of Workers -> History of each key -> Tally, or what is wrong`.
//! The workers execute each [`Op`](crate::Op) on keys that all of them know. Contents carry a stamp
//! of who wrote them; what everybody saw of a key must be explained by some order, and in the end
//! pools and arena must add up to the last byte.
//!
//! | module | responsibility |
//! |---|---|
//! | `client` | what differs between clients |
//! | `stamp` | contents that say who wrote them, and whether they are whole |
//! | `scene` | what the threads of a run share |
//! | `prefill` | what lies in the pools before there are threads |
//! | `worker` | a thread: one operation after the other |
//! | `pool_ops` | those of its operations that name no object |
//! | `guards`, `guard_ops` | readers and mappings that a worker holds from one operation to another |
//! | `finish_batch` | the end: everything read back, counted, freed |
//! | `tally` | what was met, and the seeds to run |
//!
//! # Locking
//!
//! `std` mutexes around what is noted, never held at a point of the schedule.

mod batch;
mod client;
mod finish_batch;
mod guard_ops;
mod guards;
mod meet;
mod pool_ops;
mod prefill;
mod scene;
mod stamp;
mod tally;
mod worker;

pub use batch::{Batch, batch};
pub use client::Meeting;
pub use meet::meet;
pub use tally::Tally;
