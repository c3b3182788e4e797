//! `store`: the block store beside its bare codec, and beside the kernel's zram device, on the same
//! pages, in turn.
//!
//! `files -> pages -> (codec, flat array, a store alone) -> shares of speed`, `pages -> a child
//! with one store -> memory`, `pages -> requests of one size -> threads -> store | zram, pass by
//! pass, in turn -> costs a page -> table, CSV, bars`
//!
//! Figures are medians over the rounds, ratios medians of the ratios of each round. Every block is
//! compared after it was written.
//!
//! | module | responsibility |
//! |---|---|
//! | `alone` | one store beside the codec and an array of the same compressed forms |
//! | `memory` | what a store holds, measured by a child |
//! | `cost` | wall and CPU time of a page |
//! | `disk` | what can be measured: a store, the kernel's device |
//! | `requests` | which bytes go where, in which order |
//! | `run` | the passes on both disks, by one thread and by two |
//! | `results` | medians |
//! | `bars` | what is to be reached |
//! | `report` | table and CSV |

mod alone;
mod bars;
mod cost;
mod disk;
mod memory;
mod report;
mod requests;
mod results;
mod run;
mod sizes;

use crate::note;
use alone::Alone;
use anyhow::{Context as _, Result};
use clap::{Args, value_parser};
use disk::Kind;
use report::Report;
use results::Results;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use zs_mm::PageSize;
use zs_pages::Collector;

pub(crate) use memory::measure_as_child;
use sizes::whole;

/// How fast and how dense is the block store, beside its codec, and beside the kernel's zram?
///
/// Both with lz4 and blocks of 4 KiB. The kernel's device is a new one, by O_DIRECT, and needs
/// root; where there is none, that is said.
#[derive(Debug, Args)]
pub(crate) struct StoreBench {
    /// Files of pages; a .zst file is unpacked first [default: this program]
    #[arg(long, num_args = 1.., value_name = "FILE", default_value = "/proc/self/exe", hide_default_value = true)]
    file: Vec<PathBuf>,

    /// Counted rounds, after one that is not; the figures are medians
    #[arg(long, default_value = "5", value_parser = value_parser!(u32).range(3..=1000))]
    runs: u32,

    /// The random orders follow from it
    #[arg(long, default_value = "12345")]
    seed: u32,

    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(options: &StoreBench) -> Result<()> {
    let mut collector = Collector::new(PageSize::K4)?;
    for path in &options.file {
        collector.add_file(path, &mut |_| ())?;
    }
    let (file, _) = collector.finish()?;
    let pages = file.map()?;
    let bytes = whole(&pages)?;
    let mut kinds = vec![Kind::Store];
    let absent = disk::no_device();
    if absent.is_none() {
        kinds.push(Kind::Zram);
    }
    let mut alone = Alone::new(bytes, options.seed)?;
    let mut results = Results::default();
    for round in 0..=options.runs {
        note(&format!("round {round} of {}", options.runs));
        let speeds = alone.round()?;
        let memory = memory::measure(&file, options.seed)?;
        // Who is first changes.
        kinds.rotate_left(1);
        let rows = run::round(bytes, &kinds, options.seed)?;
        if round > 0 {
            results.add(speeds, memory, rows);
        }
    }
    let report = Report::new(bytes.len(), absent, results);
    if let Some(path) = &options.csv {
        fs::write(path, report.csv()).with_context(|| path.display().to_string())?;
    }
    let written = io::stdout().lock().write_all(report.text().as_bytes());
    written.context("standard output")
}
