//! What was found out: a table and the bars, CSV, JSON.

use super::bars;
use super::case::Case;
use super::child::Job;
use crate::figures::Figures;
use crate::machine;
use anyhow::Result;
use serde_json::json;
use std::fmt::{self, Write as _};

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = (self.source_bytes as f64 / f64::from(1 << 20)).round();
        write!(f, "{mib} MiB, {} % freed", self.job.free)
    }
}

/// Everything that does not change from case to case.
fn heading(cases: &[Case]) -> Vec<String> {
    let mut heading = machine::described("bench-own");
    let runs = cases.first().map_or(0, |case| case.runs.len());
    heading.push(format!("medians of {runs} runs"));
    heading
}

/// A table with a column for each case, then the bars.
pub(super) fn text(cases: &[Case]) -> String {
    let figures: Vec<Figures> = cases.iter().map(Case::figures).collect();
    let mut text = heading(cases).join("\n");
    let names = cases.iter().map(ToString::to_string);
    row(&mut text, "", names);
    for (name, _) in figures.first().into_iter().flat_map(Figures::iter) {
        let values = figures.iter().map(|figures| figures.get(name));
        row(
            &mut text,
            name,
            values.map(|value| value.map_or("-".to_owned(), |value| value.to_string())),
        );
    }
    text.push('\n');
    text.extend(cases.iter().map(bars::lines));
    if cases
        .iter()
        .any(|case| case.watched.get("hold_class_count").is_some())
    {
        // The contract of `Pool::compact_while`, which no hook can look into.
        text.push_str("a step of compaction plans and commits at most 32 moves, in a hold of the class lock each\n");
    }
    text
}

fn row(text: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    // A string takes everything.
    let _ = write!(text, "\n{name:<36}");
    for cell in cells {
        let _ = write!(text, "{cell:>24}");
    }
}

/// One line for each case, below the heading as comments and the names of the columns.
pub(super) fn csv(cases: &[Case]) -> String {
    let mut csv = String::new();
    for line in heading(cases) {
        csv.push_str(&format!("# {line}\n"));
    }
    for (number, case) in cases.iter().enumerate() {
        let figures = case.figures();
        if number == 0 {
            let names = figures.iter().map(|(name, _)| format!(",{name}"));
            csv.push_str(&format!(
                "source_bytes,copies,free_percent,seed{}\n",
                names.collect::<String>()
            ));
        }
        let Job {
            copies, free, seed, ..
        } = case.job;
        let values = figures.iter().map(|(_, value)| format!(",{value}"));
        csv.push_str(&format!(
            "{},{copies},{free},{seed}{}\n",
            case.source_bytes,
            values.collect::<String>()
        ));
    }
    csv
}

/// Heading, medians and every single run.
pub(super) fn json(cases: &[Case]) -> Result<String> {
    let object = |figures: &Figures| {
        let fields = figures
            .iter()
            .map(|(name, value)| (name.to_owned(), json!(value)));
        serde_json::Value::Object(fields.collect())
    };
    let case = |case: &Case| {
        json!({
            "source_bytes": case.source_bytes,
            "job": case.job,
            "figures": object(&case.figures()),
            "runs": case.runs.iter().map(object).collect::<Vec<_>>(),
            "bars": bars::lines(case).lines().collect::<Vec<_>>(),
        })
    };
    let all = json!({
        "heading": heading(cases),
        "cases": cases.iter().map(case).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}
