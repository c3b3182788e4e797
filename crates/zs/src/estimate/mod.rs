//! `zs estimate`: how much memory would compression give back for these bytes?
//!
//! `source -> page file -> one child a codec: codec -> pool -> meter -> back again, compared ->
//! a share freed, compacted, meter, the rest compared -> report`
//!
//! | module | responsibility |
//! |---|---|
//! | `parent` | a child for each codec, and what it says |
//! | `protocol` | what parent and child say to each other |
//! | `child` | the child: everything warm, then measured |
//! | `bench` | pages through codec and pool, in and out, timed |
//! | `per_process` | what becomes of each process's pages |
//! | `models` | what other stores would hold of the same objects |
//! | `after_free` | a random share freed, the pool compacted |
//! | `report` | what was found out, as text and as JSON |

mod after_free;
mod bench;
mod child;
mod models;
mod parent;
mod per_process;
mod protocol;
mod report;

pub(crate) use child::run as measure_as_child;

use crate::cli::{Estimate, Job};
use crate::failure::{Failure, LIMIT_REACHED};
use crate::limit::limit;
use crate::output;
use crate::sources::{Origin, gather};
use report::Report;
use std::process::ExitCode;
use zcomp::{Algorithm, ZstdLevel};

/// Runs the command.
pub(crate) fn run(options: &Estimate) -> Result<ExitCode, Failure> {
    let sampling = options.sampling();
    let gathered = gather(&options.source, sampling, options.page_size)?;
    let page = gathered.page_size;
    let limit = limit(options.limit, page, gathered.pages.data_pages());
    let parts = match &gathered.origin {
        Origin::Files(_) => Vec::new(),
        Origin::Processes(live) => {
            let strata = live.processes.iter().flat_map(|process| &process.strata);
            strata.map(|stratum| stratum.sampled).collect()
        }
    };
    let measure = |codec| {
        let job = Job {
            codec,
            page_size: page,
            limit,
            free: options.free,
            compare: options.compare,
            seed: sampling.seed,
            parts: parts.clone(),
        };
        parent::measure(&gathered.pages, &job)
    };
    let report = Report {
        page,
        limit,
        lz4: measure(Algorithm::Lz4)?,
        zstd: measure(Algorithm::Zstd(ZstdLevel::default()))?,
        origin: gathered.origin,
        with_classes: options.classes,
        top: options.top,
    };
    let text = if options.json {
        report.json()?
    } else {
        report.text(output::width())
    };
    output::print(&text)?;
    match report.origin.failure() {
        Some(text) => Err(Failure::Failed(text)),
        None if report.limit_reached() => Ok(ExitCode::from(LIMIT_REACHED)),
        None => Ok(ExitCode::SUCCESS),
    }
}
