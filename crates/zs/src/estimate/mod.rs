//! `zs estimate`: how much memory would compression give back for these bytes?
//!
//! `files -> page file -> one child a codec: codec -> pool -> meter -> back again, compared ->
//! a share freed, compacted, meter, the rest compared -> report`
//!
//! | module | responsibility |
//! |---|---|
//! | `collect` | the files, laid end to end in a page file; the limit |
//! | `parent` | a child for each codec, and what it says |
//! | `protocol` | what parent and child say to each other |
//! | `child` | the child: everything warm, then measured |
//! | `bench` | pages through codec and pool, in and out, timed |
//! | `after_free` | a random share freed, the pool compacted |
//! | `report` | what was found out, as text and as JSON |
//! | `progress` | a bar on the terminal |

mod after_free;
mod bench;
mod child;
mod collect;
mod parent;
mod progress;
mod protocol;
mod report;

pub(crate) use child::run as measure_as_child;

use crate::cli::{Estimate, Job};
use crate::failure::{Failure, LIMIT_REACHED};
use crate::output;
use report::Report;
use std::process::ExitCode;
use zcomp::{Algorithm, ZstdLevel};

/// Runs the command.
pub(crate) fn run(options: &Estimate) -> Result<ExitCode, Failure> {
    let (file, sources) = collect::pages(options)?;
    let limit = collect::limit(options, file.pages());
    let measure = |codec| {
        let (page_size, free, seed) = (options.page_size, options.free, options.seed());
        let job = Job {
            codec,
            page_size,
            limit,
            free,
            seed,
        };
        parent::measure(&file, &job)
    };
    let report = Report {
        page: options.page_size,
        sources,
        limit,
        lz4: measure(Algorithm::Lz4)?,
        zstd: measure(Algorithm::Zstd(ZstdLevel::default()))?,
        with_classes: options.classes,
    };
    let text = if options.json {
        report.json()?
    } else {
        report.text(output::width())
    };
    output::print(&text)?;
    Ok(if report.limit_reached() {
        ExitCode::from(LIMIT_REACHED)
    } else {
        ExitCode::SUCCESS
    })
}
