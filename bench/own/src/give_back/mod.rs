//! `give-back`: how much memory goes back after a share of the objects was freed, and how fast?
//!
//! `files -> page file -> a child for each measurement -> figures -> medians -> table, CSV, JSON,
//! bars`
//!
//! | module | responsibility |
//! |---|---|
//! | `child` | the child: everything warm, then measured |
//! | `readers` | threads that read while objects move |
//! | `bars` | what the figures are to be |
//! | `report` | table, CSV and JSON |

mod bars;
mod case;
mod child;
mod pool;
mod readers;
mod report;

use pool::PAGE;

pub(crate) use child::run as measure_as_child;

use crate::cli::GiveBack;
use crate::figures::Figures;
use crate::measured::by_a_child;
use crate::note;
use anyhow::{Context as _, Result};
use case::Case;
use child::{Job, Watch};
use std::io::{self, Write as _};
use zs_pages::{Collector, PageFile};

/// Runs the command.
pub(crate) fn run(options: &GiveBack) -> Result<()> {
    let mut collector = Collector::new(PAGE)?;
    for path in &options.pages {
        collector.add_file(path, &mut |_| ())?;
    }
    let (pages, _) = collector.finish()?;
    let mut cases = cases(options, &pages);
    // Runs of the cases alternate, so that a machine's mood does not fall on one of them.
    for run in 0..options.runs {
        for case in &mut cases {
            note(&format!("{case}: run {} of {}", run + 1, options.runs));
            case.runs.push(by_a_child("measure", &case.job, &pages)?);
        }
    }
    for case in &mut cases {
        watch(options, &pages, case)?;
    }
    if let Some(path) = &options.csv {
        let csv = report::csv(&cases);
        std::fs::write(path, csv).with_context(|| path.display().to_string())?;
    }
    let text = if options.json {
        report::json(&cases)?
    } else {
        report::text(&cases)
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.context("standard output")
}

fn cases(options: &GiveBack, pages: &PageFile) -> Vec<Case> {
    let mut settle = options.settle.clone();
    settle.sort_unstable();
    settle.dedup();
    let case = |copies: u32, free: u32| Case {
        source_bytes: (pages.pages() * u64::from(copies)) << PAGE.shift(),
        job: Job {
            copies,
            free,
            seed: options.seed,
            settle: settle.clone(),
            watch: Watch::Nothing,
        },
        runs: Vec::new(),
        watched: Figures::default(),
    };
    let copies = options.copies.iter();
    copies
        .flat_map(|&copies| options.free.iter().map(move |&free| (copies, free)))
        .map(|(copies, free)| case(copies, free))
        .collect()
}

/// What would slow down the compaction that is measured, or be slowed down by it, in children of
/// its own.
fn watch(options: &GiveBack, pages: &PageFile, case: &mut Case) -> Result<()> {
    let mut watches = Vec::new();
    if cfg!(feature = "hold-hook") {
        watches.push(Watch::Holds);
    }
    if options.readers > 0 {
        watches.push(Watch::Readers(options.readers));
    }
    for watch in watches {
        note(&format!("{case}: {watch:?}"));
        let job = Job {
            settle: Vec::new(),
            watch,
            ..case.job.clone()
        };
        case.watched.extend(by_a_child("measure", &job, pages)?);
    }
    Ok(())
}
