//! What was found out: a table, CSV, the bar.

use crate::machine;
use crate::numbers::median;
use std::fmt::Write as _;

/// How many times as long the good client's p99 may take beside hostile ones.
const BAR: f64 = 3.0;

/// Microseconds that requests took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// The good client with requests of one length, in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) kind: &'static str,
    pub(super) len: u32,
    pub(super) alone: Times,
    pub(super) beside: Times,
}

/// All rounds.
pub(super) struct Report {
    runs: u32,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(runs: u32) -> Self {
        Self {
            runs,
            rows: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Kind and length, the medians of p50 and p99, alone and beside, and the median of the ratios
    /// of one round.
    fn medians(&self) -> Vec<(&'static str, u32, [f64; 5])> {
        let mut cases: Vec<(&str, u32)> = Vec::new();
        for row in &self.rows {
            if !cases.contains(&(row.kind, row.len)) {
                cases.push((row.kind, row.len));
            }
        }
        let of: [fn(&Row) -> f64; 5] = [
            |row| row.alone.p50,
            |row| row.alone.p99,
            |row| row.beside.p50,
            |row| row.beside.p99,
            |row| row.beside.p99 / row.alone.p99,
        ];
        let medians = cases.into_iter().map(|(kind, len)| {
            let rows = self.rows.iter();
            let rows: Vec<&Row> = rows
                .filter(|row| (row.kind, row.len) == (kind, len))
                .collect();
            let figures = of.map(|of| {
                let values = rows.iter().map(|row| of(row)).collect();
                median(values).unwrap_or_default()
            });
            (kind, len, figures)
        });
        medians.collect()
    }

    fn heading(&self) -> Vec<String> {
        let mut heading = machine::described("bench-own");
        heading.push(format!(
            "a good client beside hostile ones of one user; microseconds, medians of {} rounds",
            self.runs
        ));
        heading
    }

    /// A line for each kind and length.
    pub(super) fn text(&self) -> String {
        let mut text = self.heading().join("\n") + "\n";
        // A string takes everything, here and below.
        let _ = writeln!(
            text,
            "{:<12}{:>6}{:>11}{:>11}{:>12}{:>12}{:>8}  bar",
            "hostile", "KiB", "alone p50", "alone p99", "beside p50", "beside p99", "ratio"
        );
        for (kind, len, [a50, a99, b50, b99, ratio]) in self.medians() {
            let bar = if ratio <= BAR { "met" } else { "missed" };
            let _ = writeln!(
                text,
                "{kind:<12}{:>6}{a50:>11.1}{a99:>11.1}{b50:>12.1}{b99:>12.1}{ratio:>8.2}  {bar}",
                len >> 10
            );
        }
        text
    }

    /// The same as CSV, behind comments.
    pub(super) fn csv(&self) -> String {
        let comments = self.heading().into_iter().map(|line| format!("# {line}\n"));
        let mut csv: String = comments.collect();
        csv.push_str("kind,kib,alone_p50_us,alone_p99_us,beside_p50_us,beside_p99_us,p99_ratio\n");
        for (kind, len, figures) in self.medians() {
            let figures = figures.map(|figure| format!("{figure:.2}")).join(",");
            let _ = writeln!(csv, "{kind},{},{figures}", len >> 10);
        }
        csv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_a_round() {
        let mut report = Report::new(3);
        for (alone, beside) in [(1.0, 4.0), (10.0, 20.0), (100.0, 600.0)] {
            let times = |p99| Times { p50: p99, p99 };
            report.add(Row {
                kind: "idle",
                len: 4096,
                alone: times(alone),
                beside: times(beside),
            });
        }
        let csv = report.csv();
        assert_eq!(
            csv.lines().last(),
            Some("idle,4,10.00,10.00,20.00,20.00,4.00")
        );
        assert!(report.text().trim_end().ends_with("missed"));
    }
}
