//! Tables and CSV.

use super::contender::{Contender, HUGE};
use super::phase::{Outcome, Phase, PhaseFigures};
use crate::machine;
use anyhow::Result;
use std::fmt;

/// One allocator with one number of threads.
pub(super) struct Row {
    pub(super) contender: Contender,
    pub(super) huge: bool,
    pub(super) threads: u32,
    pub(super) fate: Fate,
}

/// What came of it.
pub(super) enum Fate {
    /// The counted runs.
    Measured(Vec<Outcome>),
    /// Why there is none.
    Failed(String),
}

impl Row {
    /// Adds a run, if it counts; the first failure is the row's.
    pub(super) fn add(&mut self, run: Result<Outcome>, counts: bool) {
        match (run, &mut self.fate) {
            (Ok(outcome), Fate::Measured(outcomes)) if counts => outcomes.push(outcome),
            (Err(error), Fate::Measured(_)) => self.fate = Fate::Failed(format!("{error:#}")),
            _ => {}
        }
    }

    pub(super) fn name(&self) -> String {
        let huge = if self.huge { HUGE } else { "" };
        format!("{}{huge}", self.contender.name)
    }

    /// The medians of a phase.
    pub(super) fn figures(&self, phase: Phase) -> Option<PhaseFigures> {
        let Fate::Measured(outcomes) = &self.fate else {
            return None;
        };
        let of = |outcome: &Outcome| {
            let mut phases = outcome.phases.iter().copied();
            phases.find(|figures| figures.phase == phase)
        };
        PhaseFigures::medians(&outcomes.iter().filter_map(of).collect::<Vec<_>>())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} threads", self.name(), self.threads)
    }
}

/// Everything that was found out.
pub(super) struct Report {
    /// Bytes of the pages, all copies, before compression.
    pub(super) source_bytes: u64,
    pub(super) objects: u32,
    pub(super) payload: u64,
    pub(super) runs: u32,
    pub(super) rows: Vec<Row>,
    /// Allocators that were not built, and why.
    pub(super) absent: Vec<(String, String)>,
}

/// A column of a table: its name, and the text of a row.
type Column = (&'static str, fn(&Row) -> String);

/// Times of an operation.
const TIMES: [Column; 9] = [
    ("insert, first touch: mean", |row| mean(row, Phase::Insert)),
    ("insert, warm", |row| p50(row, Phase::InsertWarm)),
    ("read", |row| p50(row, Phase::Read)),
    ("read p99", |row| {
        row.figures(Phase::Read)
            .map_or(none(), |of| whole(of.p99_ns))
    }),
    ("read, untimed pass", |row| mean(row, Phase::ReadPass)),
    ("read many", |row| mean(row, Phase::ReadMany)),
    ("free", |row| p50(row, Phase::FreeHalf)),
    ("churn", |row| p50(row, Phase::Churn)),
    ("purge, ms", |row| {
        let ms = |of: PhaseFigures| format!("{:.1}", of.mean_ns / 1e6);
        row.figures(Phase::Purge).map_or(none(), ms)
    }),
];

/// Memory over the live payload.
const MEMORY: [Column; 6] = [
    ("loaded", |row| held(row, Phase::Insert)),
    ("half freed", |row| held(row, Phase::FreeHalf)),
    ("purged", |row| held(row, Phase::Purge)),
    ("refilled", |row| held(row, Phase::Refill)),
    ("churned", |row| held(row, Phase::Churn)),
    ("purged again", |row| held(row, Phase::PurgeChurned)),
];

fn none() -> String {
    "-".to_owned()
}

fn whole(ns: Option<f64>) -> String {
    ns.map_or(none(), |ns| format!("{ns:.0}"))
}

fn p50(row: &Row, phase: Phase) -> String {
    whole(row.figures(phase).and_then(|figures| figures.p50_ns))
}

fn mean(row: &Row, phase: Phase) -> String {
    whole(row.figures(phase).map(|figures| figures.mean_ns))
}

fn held(row: &Row, phase: Phase) -> String {
    let held = row
        .figures(phase)
        .and_then(|figures| figures.held_over_payload);
    held.map_or(none(), |held| format!("{held:.3}"))
}

impl Report {
    /// The row of an allocator, by the name that the CSV has.
    pub(super) fn row(&self, name: &str, threads: u32) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.name() == name && row.threads == threads)
    }

    /// Everything that does not change from row to row.
    fn heading(&self) -> Vec<String> {
        let mut heading = machine::described("cargo xtask bench");
        heading.push(format!(
            "{} objects of {:.1} MB, of {:.0} MiB of pages; medians of {} runs; memory is the growth of what is resident",
            self.objects,
            self.payload as f64 / 1e6,
            self.source_bytes as f64 / f64::from(1 << 20),
            self.runs
        ));
        heading
    }

    /// Tables for people, in Markdown.
    pub(super) fn text(&self) -> String {
        let mut text = self.heading().join("\n") + "\n";
        let mut threads: Vec<u32> = self.rows.iter().map(|row| row.threads).collect();
        threads.dedup();
        for threads in threads {
            let of = format!(
                "{threads} {}",
                if threads == 1 { "thread" } else { "threads" }
            );
            text.push_str(&self.table(&format!("ns (p50), {of}"), threads, &TIMES));
            text.push_str(&self.table(&format!("memory over payload, {of}"), threads, &MEMORY));
        }
        for row in &self.rows {
            if let Fate::Failed(why) = &row.fate {
                text.push_str(&format!("\n{row}: not measured: {why}\n"));
            }
        }
        for (name, why) in &self.absent {
            text.push_str(&format!("\n{name}: not measured: {why}\n"));
        }
        text.push('\n');
        text
    }

    fn table(&self, title: &str, threads: u32, columns: &[Column]) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let header = columns.iter().map(|(name, _)| (*name).to_owned());
        let mut table = "\n".to_owned();
        table.push_str(&line(
            [title.to_owned()].into_iter().chain(header).collect(),
        ));
        table.push_str(&line(vec!["---".to_owned(); columns.len() + 1]));
        for row in self.rows.iter().filter(|row| row.threads == threads) {
            let cells = columns.iter().map(|(_, cell)| cell(row));
            table.push_str(&line([row.name()].into_iter().chain(cells).collect()));
        }
        for (name, _) in &self.absent {
            let cells = columns.iter().map(|_| "not built".to_owned());
            table.push_str(&line([name.clone()].into_iter().chain(cells).collect()));
        }
        table
    }

    /// One line for each allocator, number of threads and phase; empty where there is nothing to
    /// say.
    pub(super) fn csv(&self) -> String {
        let mut csv = String::new();
        for line in self.heading() {
            csv.push_str(&format!("# {line}\n"));
        }
        for (name, why) in &self.absent {
            csv.push_str(&format!(
                "# {name}: not measured: {}\n",
                why.replace('\n', " ")
            ));
        }
        csv.push_str("allocator,threads,phase,p50_ns,mean_ns,p99_ns,held_over_payload\n");
        let number = |value: Option<f64>, decimals: usize| {
            value.map_or(String::new(), |value| format!("{value:.decimals$}"))
        };
        for row in &self.rows {
            if let Fate::Failed(why) = &row.fate {
                csv.push_str(&format!(
                    "# {row}: not measured: {}\n",
                    why.replace('\n', " ")
                ));
            }
            for figures in Phase::ALL
                .into_iter()
                .filter_map(|phase| row.figures(phase))
            {
                csv.push_str(&format!(
                    "{},{},{},{},{},{},{}\n",
                    row.name(),
                    row.threads,
                    figures.phase.name(),
                    number(figures.p50_ns, 1),
                    number(Some(figures.mean_ns), 1),
                    number(figures.p99_ns, 1),
                    number(figures.held_over_payload, 4),
                ));
            }
        }
        csv
    }
}
