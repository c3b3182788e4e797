//! One seed run: threads that meet on pools.

use super::client::Meeting;
use super::scene::Scene;
use super::tally::Tally;
use super::{finish_batch, prefill, worker};
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
    let mut tally = finish_batch::finish_batch(scene).map_err(failed)?;
    tally.add_trace(&trace);
    Ok((trace, tally))
}
