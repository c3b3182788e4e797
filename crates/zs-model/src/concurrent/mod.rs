//! Threads on shared pools, under a seeded schedule, and what must have come of it.
//!
//! Data model: `seed -> Scene -> run of Workers -> History of each key -> Tally, or what is wrong`. The
//! workers execute each [`Op`](crate::Op) on keys that all of them know. Contents carry a stamp of who
//! wrote them; what everybody saw of a key must be explained by some order, and in the end pools and
//! arena must add up to the last byte.
//!
//! | module | responsibility |
//! |---|---|
//! | `client` | what differs between clients |
//! | `stamp` | contents that say who wrote them, and whether they are whole |
//! | `scene` | what the threads of a run share |
//! | `prefill` | what lies in the pools before there are threads |
//! | `worker` | a thread: one operation after the other |
//! | `around` | those of its operations that name no object |
//! | `held` | readers and mappings that a worker holds from one operation to another |
//! | `settle` | the end: everything read back, counted, freed |
//! | `tally` | what was met, and the seeds to run |
//!
//! # Locking
//!
//! `std` mutexes around what is noted, never held at a point of the schedule.

mod around;
mod client;
mod held;
mod prefill;
mod scene;
mod settle;
mod stamp;
mod tally;
mod worker;

pub use client::Meeting;
pub use tally::{Batch, Tally, batch};

use scene::Scene;
use std::sync::Arc;
use zs_mm::PageSize;
use zs_sync::schedule::{self, Body, Plan, Trace};

/// A run that has more points goes in circles. The longest that end have less than a tenth.
const MOST_POINTS: u64 = 1_000_000;

/// Runs one seed: 2 to 4 threads on 1 to 3 pools.
///
/// # Errors
/// What is wrong, with the seed.
pub fn meet<C: Meeting>(page: PageSize, seed: u64) -> Result<(Trace, Tally), String> {
    let failed = |what: String| format!("seed {seed}: {what}");
    let mut scene = Scene::<C>::new(page, seed).map_err(failed)?;
    prefill::prefill(&scene).map_err(failed)?;
    if scene.is_scarce {
        scene.use_up().map_err(failed)?;
    }
    let scene = Arc::new(scene);
    let one = |me| -> Body {
        let scene = Arc::clone(&scene);
        Box::new(move || worker::play(&scene, me))
    };
    let bodies = (0..scene.threads()).map(one).collect();
    let most_points = MOST_POINTS;
    let trace = schedule::run(Plan { seed, most_points }, bodies);
    let trace = trace.map_err(|failure| failure.to_string())?;
    let scene = Arc::into_inner(scene).ok_or("a thread that ended holds the scene")?;
    let mut tally = settle::settle(scene).map_err(failed)?;
    tally.add_trace(&trace);
    Ok((trace, tally))
}
