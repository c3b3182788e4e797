//! What was met.

use core::fmt;
use std::collections::BTreeMap;
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

    pub(super) fn add_all(&mut self, other: &Self) {
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
