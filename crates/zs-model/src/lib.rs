//! One operation enum, one reference model, one driver: what property tests, fuzzers and random
//! schedules run.
//!
//! Data model: `bytes -> [Op] -> run(arena, environment, options, ops) -> Report, or the Mismatch`.
//! The driver executes each [`Op`] on one to three pools of one arena, and on a model that is a map
//! from keys to byte vectors. The model predicts every result exactly, errors included; only
//! `NoMemory` may come unpredicted, and then the limit or an injected fault must explain it, and
//! nothing may have changed. After every step the pools and the arena recount themselves.
//!
//! | module | responsibility |
//! |---|---|
//! | `op` | operations, their decoding from bytes |
//! | `strategy` | operations for proptest (feature `proptest`) |
//! | `contents` | bytes that are told apart by a seed |
//! | `words` | what differs between clients: a handle table, or a table of the client's own |
//! | `slot_table` | such a table |
//! | `model` | what must be |
//! | `driver` | a run: its options, its report, its end |
//! | `step` | one operation, on the pools and on the model |
//! | `look` | operations that show bytes: read, map, visit |
//! | `compact` | operations that move objects |
//! | `migrate` | operations that move frames |
//! | `guards` | readers and mappings that are held from one step to another |
//! | `check` | what holds after every step |
//! | `history` | whether some order explains what threads saw of one object |
//! | `concurrent` | threads on shared pools, under a seeded schedule; only with `--cfg zs_schedule` |
//! | `world` | an arena for tests: heap memory, faults and a clock by hand |
//! | `signal` | what one thread of a test tells another |
//! | `long` | how long tests run: the environment's say |
//!
//! # Locking
//!
//! None: a run has one thread, and so never meets a wait. `concurrent` says what is different
//! there.

#![cfg(not(zs_loom))]

mod check;
mod compact;
#[cfg(zs_schedule)]
pub mod concurrent;
mod contents;
mod driver;
mod guards;
mod history;
mod long;
mod look;
mod migrate;
mod model;
mod op;
mod signal;
mod slot_table;
mod step;
#[cfg(feature = "proptest")]
mod strategy;
mod words;
mod world;

pub use check::sound;
pub use contents::{Numbers, pattern};
pub use driver::{Environment, Mismatch, Report, RunOptions, run};
pub use history::{Event, History, What};
pub use long::{long_factor, scaled};
pub use model::{Model, Object};
pub use op::{Length, MapKind, Op, Portion};
pub use signal::Signal;
pub use slot_table::{SlotAsk, SlotTable};
#[cfg(feature = "proptest")]
pub use strategy::{Case, cases, ops};
pub use words::{Presence, Words};
pub use world::{TestArena, World};
