//! Named numbers, in the order they were measured, and their medians.

use crate::numbers::median;
use serde::{Deserialize, Serialize};

/// Numbers with their names, which end in a unit: `_bytes`, `_ns`, `_ms`, or say what is counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Adds a number, with as many decimals as a measurement is good for.
    pub(super) fn push(&mut self, name: impl Into<String>, value: f64) {
        self.0
            .push((name.into(), (value * 10_000.0).round() / 10_000.0));
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(super) fn get(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|&(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The median of each number over all runs, which have the same ones.
    pub(super) fn medians(runs: &[Self]) -> Self {
        let mut medians = Self::default();
        for (name, _) in runs.first().into_iter().flat_map(Self::iter) {
            let values = runs.iter().filter_map(|run| run.get(name)).collect();
            if let Some(value) = median(values) {
                medians.push(name, value);
            }
        }
        medians
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_taken_by_name() {
        let run = |a, b| {
            let mut run = Figures::default();
            run.push("a", a);
            run.push("b", b);
            run
        };
        let medians = Figures::medians(&[run(1.0, 9.0), run(3.0, 7.0), run(2.0, 8.000_04)]);
        let found: Vec<_> = medians.iter().collect();
        assert_eq!(found, [("a", 2.0), ("b", 8.0)]);
        assert_eq!(medians.get("c"), None);
    }
}
