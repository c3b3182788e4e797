//! `frames`: what a frame's move costs, and what maintenance makes of an arena that has been churned.
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
mod report;
mod windows;

pub(crate) use child::run as measure_as_child;

use crate::cli::Frames;
use crate::figures::Figures;
use crate::note;
use anyhow::{Context as _, Result, bail};
use child::Job;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use zs_mm::{Arena, PageSize};
use zs_os::AnonBacking;
use zs_pages::{Collector, PageFile};
use zsmalloc::HandlePool;

/// The size of pages and of frames.
const PAGE: PageSize = PageSize::K4;

/// The pool of one arena.
type Pool = HandlePool<Arena<AnonBacking>>;

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
        runs.push(measure(&pages, &job)?);
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

/// Measures in a process that does nothing else.
fn measure(pages: &PageFile, job: &Job) -> Result<Figures> {
    let said = Command::new("/proc/self/exe")
        .args(["measure-frames", &serde_json::to_string(job)?])
        // The pages travel as standard input: a descriptor that is inherited without further ado.
        .stdin(Stdio::from(pages.descriptor()?))
        .stderr(Stdio::inherit())
        .output()
        .context("the measuring child cannot be started")?;
    if !said.status.success() {
        bail!("the measuring child ended with {}", said.status);
    }
    serde_json::from_slice(&said.stdout).context("the measuring child said something else")
}
