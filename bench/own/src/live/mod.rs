//! `live`: how fast, how small and how exact is `zs estimate --pid`?
//!
//! `programs, filled -> zs on one CPU, by seed and of all pages -> figures -> table, CSV, bars`
//!
//! | module | responsibility |
//! |---|---|
//! | `program` | programs that fill memory and wait |
//! | `redis` | what a redis server is filled with |
//! | `status` | the memory of a process, as the system counts it |
//! | `estimate` | one run of zs, with its time and memory |
//! | `bars` | what the figures are to be |
//! | `report` | figures of all runs; table and CSV |

mod bars;
mod case;
mod estimate;
mod program;
mod redis;
mod report;
mod status;

use crate::cli::Live;
use crate::note;
use anyhow::{Context as _, Result, bail};
use case::{Case, Estimates};
use estimate::{Sample, Zs};
use program::{Kind, Program};
use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Runs the command.
pub(crate) fn run(options: &Live) -> Result<()> {
    let zs = Zs::new(zs_path(options)?)?;
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        let version = kind.version();
        if version.is_none() {
            note(&format!("{kind} is not installed: {}", kind.way_to_get()));
        }
        let estimates = version
            .is_some()
            .then(|| measure(&zs, kind, options))
            .transpose()?;
        cases.push(Case {
            kind,
            version,
            estimates,
        });
    }
    if let Some(path) = &options.csv {
        let csv = report::csv(&cases, options.runs);
        std::fs::write(path, csv).with_context(|| path.display().to_string())?;
    }
    let text = report::text(&cases, options.runs);
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.context("standard output")
}

/// The zs that was named, or the one that was built beside this program.
fn zs_path(options: &Live) -> Result<PathBuf> {
    let path = match &options.zs {
        Some(path) => path.clone(),
        None => env::current_exe()?.with_file_name("zs"),
    };
    if !path.is_file() {
        let release = if cfg!(debug_assertions) {
            ""
        } else {
            " --release"
        };
        bail!(
            "no zs at {}: build it by `cargo build{release} -p zs`, or name one by --zs",
            path.display()
        );
    }
    Ok(path)
}

fn measure(zs: &Zs, kind: Kind, options: &Live) -> Result<Estimates> {
    note(&format!("{kind}: filling {} MiB", options.mib));
    let program = Program::start(kind, u64::from(options.mib) << 20)?;
    let estimate = |sample: Sample| {
        note(&format!("{kind}: {sample}"));
        zs.estimate(program.pid(), sample)
            .with_context(|| format!("{kind}, {sample}"))
    };
    // All pages before and after: what changes by itself would look like an error of the sample.
    let before = estimate(Sample::All)?;
    let samples = (1..=options.runs).map(|seed| estimate(Sample::Default { seed }));
    Ok(Estimates {
        before,
        samples: samples.collect::<Result<_>>()?,
        all: estimate(Sample::All)?,
    })
}
