//! Named numbers, in the order they were measured, their medians, and whether they meet a bar.

use crate::numbers::median;
use serde::{Deserialize, Serialize};

/// Numbers with their names, which end in a unit: `_bytes`, `_ns`, `_ms`, or say what is counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Adds a number, with as many decimals as a measurement is good for.
    pub(crate) fn push(&mut self, name: impl Into<String>, value: f64) {
        self.0
            .push((name.into(), (value * 10_000.0).round() / 10_000.0));
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|&(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The median of each number over all runs, which have the same ones.
    pub(crate) fn medians(runs: &[Self]) -> Self {
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

/// Whether a figure is at most what it is to be. One that was not measured is never met.
pub(crate) fn verdict(figure: Option<f64>, bar: f64) -> String {
    match figure {
        Some(figure) if figure <= bar => format!("{figure} met"),
        Some(figure) => format!("{figure} missed"),
        None => "not measured".to_owned(),
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
