//! What was met, and the seeds to run.

use super::{Meeting, meet};
use core::fmt;
use std::collections::BTreeMap;
use zs_mm::PageSize;
use zs_sync::schedule::Trace;

/// How often each operation had each outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<(&'static str, &'static str), u64>);

impl Tally {
    /// Counts one.
    pub(super) fn count(&mut self, operation: &'static str, outcome: &'static str) {
        self.add(operation, outcome, 1);
    }

    pub(super) fn add(&mut self, operation: &'static str, outcome: &'static str, times: u64) {
        *self.0.entry((operation, outcome)).or_default() += times;
    }

    pub(super) fn add_trace(&mut self, trace: &Trace) {
        self.add("schedule", "runs", 1);
        self.add("schedule", "points", trace.points);
        self.add("schedule", "switches", trace.switches);
        self.add("schedule", "parked", trace.parked);
    }

    fn add_all(&mut self, other: &Self) {
        for (&(operation, outcome), &times) in &other.0 {
            self.add(operation, outcome, times);
        }
    }

    /// Returns how often an operation had an outcome.
    pub fn of(&self, operation: &str, outcome: &str) -> u64 {
        let wanted = |(key, _): &(&(&str, &str), &u64)| **key == (operation, outcome);
        self.0.iter().find(wanted).map_or(0, |(_, &times)| times)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((operation, outcome), times) in &self.0 {
            writeln!(f, "{operation:<9} {outcome:<10} {times:>10}")?;
        }
        Ok(())
    }
}

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
