//! Many seeds run.

use super::client::Meeting;
use super::meet::meet;
use super::tally::Tally;
use zs_mm::PageSize;

/// What many seeds met.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Of all seeds.
    pub tally: Tally,
    /// Only the one seed that `ZS_SEED` names was run.
    is_single: bool,
}

impl Batch {
    /// Says whether each of these outcomes was met at least once. A single seed need not meet them.
    ///
    /// # Errors
    /// Those that were not.
    pub fn met(&self, windows: &[(&str, &str)]) -> Result<(), String> {
        let missed = |(operation, outcome): &&(&str, &str)| self.tally.of(operation, outcome) == 0;
        let missed: Vec<_> = windows.iter().filter(missed).collect();
        if self.is_single || missed.is_empty() {
            return Ok(());
        }
        Err(format!("never met: {missed:?} in\n{}", self.tally))
    }
}

/// Runs the seeds below `seeds`, or the one that the environment variable `ZS_SEED` names.
///
/// # Errors
/// What is wrong, and how to run that seed again.
pub fn batch<C: Meeting>(page: PageSize, seeds: u64) -> Result<Batch, String> {
    let single = match std::env::var("ZS_SEED") {
        Ok(text) => Some(
            text.parse()
                .map_err(|_| format!("ZS_SEED={text}: no number"))?,
        ),
        Err(_) => None,
    };
    let mut tally = Tally::default();
    for seed in single.map_or(0..seeds, |seed: u64| seed..seed + 1) {
        let (_, met) = meet::<C>(page, seed).map_err(|what| {
            // The harness names the thread of a test after it.
            let current = std::thread::current();
            let test = current.name().unwrap_or_default();
            format!("{what}\nagain: ZS_SEED={seed} cargo xtask schedules {test}")
        })?;
        tally.add_all(&met);
    }
    Ok(Batch {
        tally,
        is_single: single.is_some(),
    })
}
