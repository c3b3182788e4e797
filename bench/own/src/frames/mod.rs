//! `frames`: what a frame's move costs, and what maintenance makes of an arena that has been
//! churned.
//!
//! `files -> page file -> a child for each run -> figures -> medians -> table, CSV, bars`
//!
//! | module | responsibility |
//! |---|---|
//! | `child` | the child: a pool filled, moved, freed, maintained, checked |
//! | `moving` | frames moved, and copied by hand |
//! | `windows` | readers, in windows with and without maintenance |
//! | `report` | table, CSV, bars |

mod child;
mod moving;
mod pool;
mod report;
mod windows;

use pool::PAGE;

pub(crate) use child::run as measure_as_child;

use crate::cli::Frames;
use crate::measured::by_a_child;
use crate::note;
use anyhow::{Context as _, Result};
use child::Job;
use std::io::{self, Write as _};
use zs_pages::Collector;

/// Runs the command.
pub(crate) fn run(options: &Frames) -> Result<()> {
    let mut collector = Collector::new(PAGE)?;
    for path in &options.pages {
        collector.add_file(path, &mut |_| ())?;
    }
    let (pages, _) = collector.finish()?;
    let job = Job {
        copies: options.copies,
        free: options.free,
        seed: options.seed,
        readers: options.readers,
    };
    let mut runs = Vec::new();
    for run in 0..options.runs {
        note(&format!("run {} of {}", run + 1, options.runs));
        runs.push(by_a_child("measure-frames", &job, &pages)?);
    }
    let source_bytes = (pages.pages() * u64::from(options.copies)) << PAGE.shift();
    let report = report::Report {
        source_bytes,
        job,
        runs,
    };
    if let Some(path) = &options.csv {
        std::fs::write(path, report.csv()).with_context(|| path.display().to_string())?;
    }
    let written = io::stdout().lock().write_all(report.text().as_bytes());
    written.context("standard output")
}
