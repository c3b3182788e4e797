//! What was found out: a table, CSV, bars.

use super::child::Job;
use crate::figures::{Figures, verdict};
use crate::machine;
use std::fmt::Write as _;

/// What was measured, of what.
pub(super) struct Report {
    /// Bytes of the pages, all copies, before compression.
    pub(super) source_bytes: u64,
    pub(super) job: Job,
    pub(super) runs: Vec<Figures>,
}

/// The most that a figure may be.
const AT_MOST: [(&str, &str, f64); 4] = [
    ("move_async_over_copy", "a frame's move over its copy", 3.0),
    ("resident_over_payload", "resident over live payload", 1.08),
    ("maintain_wall_ms", "maintenance, ms,", 3000.0),
    (
        "read_p99_busy_over_idle",
        "p99 of a read beside maintenance over idle",
        3.0,
    ),
];

/// The least that a figure may be.
const AT_LEAST: [(&str, &str, f64); 2] = [
    ("move_async_gb_s", "moving, GB/s,", 1.0),
    ("blocks_free_share", "free blocks of those possible", 0.95),
];

impl Report {
    fn heading(&self) -> Vec<String> {
        let mut heading = machine::described("bench-own");
        heading.push(format!("medians of {} runs", self.runs.len()));
        heading
    }

    /// A line for each figure, then the bars.
    pub(super) fn text(&self) -> String {
        let mut text = self.heading().join("\n") + "\n";
        let figures = Figures::medians(&self.runs);
        for (name, value) in figures.iter() {
            // A string takes everything, here and below.
            let _ = writeln!(text, "{name:<28}{value:>16}");
        }
        for (name, what, bar) in AT_MOST {
            let verdict = verdict(figures.get(name), bar);
            let _ = writeln!(text, "bar: {what} at most {bar}: {verdict}");
        }
        for (name, what, bar) in AT_LEAST {
            let figure = figures.get(name);
            // Turned round: a verdict is on what is to be small.
            let met = match figure {
                Some(figure) if figure >= bar => format!("{figure} met"),
                Some(figure) => format!("{figure} missed"),
                None => "not measured".to_owned(),
            };
            let _ = writeln!(text, "bar: {what} at least {bar}: {met}");
        }
        text
    }

    /// One line of medians, below the heading as comments and the names of the columns.
    pub(super) fn csv(&self) -> String {
        let heading = self.heading().into_iter().map(|line| format!("# {line}\n"));
        let mut csv: String = heading.collect();
        let figures = Figures::medians(&self.runs);
        let names = figures.iter().map(|(name, _)| format!(",{name}"));
        let values = figures.iter().map(|(_, value)| format!(",{value}"));
        let Job {
            copies, free, seed, ..
        } = self.job;
        let _ = write!(
            csv,
            "source_bytes,copies,free_percent,seed{}\n{},{copies},{free},{seed}{}\n",
            names.collect::<String>(),
            self.source_bytes,
            values.collect::<String>()
        );
        csv
    }
}
