//! `nbd`: `zs serve` beside other disks of memory over NBD, on the same pages, in turn.
//!
//! `files -> pages -> (nbdcopy, own client) -> a process for each server, side by side -> pass by
//! pass, server by server -> figures -> medians, ratios of one round -> table, CSV, bars`
//!
//! The client and the servers share the machine's CPUs; their CPU times are told apart. Every block
//! is compared after a round.
//!
//! | module | responsibility |
//! |---|---|
//! | `client` | a client that keeps a window of requests open |
//! | `disk` | what is on a disk |
//! | `server` | the servers: started, watched, ended |
//! | `passes` | what is done to them, and what it took |
//! | `report` | table, CSV, bars |

pub(crate) mod client;
mod disk;
mod passes;
mod report;
pub(crate) mod server;

use crate::note;
use anyhow::{Context as _, Result, bail};
use clap::{Args, value_parser};
use disk::Source;
use passes::{FRESH, LOADED, Served, Setting};
use report::{Absent, Report, Row};
use server::{Kind, Paths, Server};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::NamedTempFile;
use zs_mm::PageSize;
use zs_pages::Collector;

/// `zs serve` beside other disks of memory over NBD.
///
/// Servers: `nbdkit memory` with its three allocators; `nbdkit file` on a zram device of the kernel
/// (lz4), which needs root, with its page cache dropped before each pass, and with cache=none. All
/// over unix sockets, each load on all servers in turn.
#[derive(Debug, Args)]
pub(crate) struct Nbd {
    /// Files of pages; a .zst file is unpacked first [default: this program]
    #[arg(long, num_args = 1.., value_name = "FILE", default_value = "/proc/self/exe", hide_default_value = true)]
    file: Vec<PathBuf>,

    /// How many times the pages are on the disk
    #[arg(long, default_value = "4", value_parser = value_parser!(u32).range(1..=256))]
    copies: u32,

    /// Counted rounds, after one that is not; the figures are medians
    #[arg(long, default_value = "5", value_parser = value_parser!(u32).range(1..=1000))]
    runs: u32,

    /// A pass ends after so many milliseconds, if not before
    #[arg(long, default_value = "2000", value_parser = value_parser!(u64).range(1..=600_000))]
    longest_ms: u64,

    /// The order of requests follows from it
    #[arg(long, default_value = "12345")]
    seed: u32,

    /// Only these servers
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,

    /// Only these loads; the disks are loaded by nbdcopy in any case
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    load: Vec<String>,

    /// The zs that is measured [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    zs: Option<PathBuf>,

    /// Also another zs, of an earlier commit say
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,

    /// Also write the figures to this file, one line for each server and load
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(options: &Nbd) -> Result<()> {
    let mut collector = Collector::new(PageSize::K4)?;
    for path in &options.file {
        collector.add_file(path, &mut |_| ())?;
    }
    let (pages, _) = collector.finish()?;
    let source = Source::new(pages.map()?, options.copies)?;
    let file = source.file()?;
    let setting = Setting {
        source: &source,
        seed: options.seed,
        longest: Duration::from_millis(options.longest_ms),
    };
    let (kinds, absent) = present(options)?;
    let beside = std::env::current_exe()?.with_file_name("zs");
    let paths = Paths {
        zs: options.zs.clone().unwrap_or(beside),
        before: options.before.clone(),
    };
    let mut report = Report::new(source.bytes(), options.runs, absent);
    for round in 0..=options.runs {
        note(&format!("round {round} of {}", options.runs));
        // Who is first changes.
        let mut kinds = kinds.clone();
        let first = round as usize % kinds.len().max(1);
        kinds.rotate_left(first);
        let wanted =
            |load: &str| options.load.is_empty() || options.load.iter().any(|name| name == load);
        let rows = measure(&kinds, &paths, &setting, &file, wanted)?;
        if round > 0 {
            report.add(rows);
        }
    }
    if let Some(path) = &options.csv {
        std::fs::write(path, report.csv()).with_context(|| path.display().to_string())?;
    }
    let written = io::stdout().lock().write_all(report.text().as_bytes());
    written.context("standard output")
}

/// The servers that can be measured here, and why the others cannot.
fn present(options: &Nbd) -> Result<(Vec<Kind>, Vec<Absent>)> {
    let names: Vec<&str> = Kind::ALL.map(Kind::name).to_vec();
    if let Some(unknown) = options
        .only
        .iter()
        .find(|name| !names.contains(&name.as_str()))
    {
        bail!("no server {unknown}: there are {}", names.join(", "));
    }
    let loads: Vec<&str> = Report::loads().collect();
    if let Some(unknown) = options
        .load
        .iter()
        .find(|name| !loads.contains(&name.as_str()))
    {
        bail!("no load {unknown}: there are {}", loads.join(", "));
    }
    let (mut kinds, mut absent) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let wanted = options.only.is_empty() || options.only.iter().any(|name| name == kind.name());
        if !wanted || (kind == Kind::ZsBefore && options.before.is_none()) {
            continue;
        }
        match kind.absent() {
            None => kinds.push(kind),
            Some(reason) => absent.push((kind, reason)),
        }
    }
    Ok((kinds, absent))
}

/// One round: fresh writes on empty disks, then all other loads on disks that nbdcopy loaded.
fn measure(
    kinds: &[Kind],
    paths: &Paths,
    setting: &Setting<'_>,
    file: &NamedTempFile,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Row>> {
    let start = || -> Result<Vec<(Kind, Served)>> {
        let start = |kind: &Kind| -> Result<_> {
            let server = Server::start(*kind, paths, setting.source.bytes())?;
            Ok((*kind, Served::new(server, setting.source)?))
        };
        kinds.iter().map(start).collect()
    };
    let mut rows = Vec::new();
    let mut add = |kind: Kind, load, figures| {
        rows.push(Row {
            server: kind.name(),
            load,
            figures,
        });
    };
    let fresh = if wanted(FRESH.name) {
        start()?
    } else {
        Vec::new()
    };
    for (kind, mut served) in fresh {
        let fresh = served.run(&FRESH, setting, 1);
        add(kind, FRESH.name, fresh.context(kind.name())?);
        served.verify(setting).context(kind.name())?;
    }
    let mut servers = start()?;
    for (kind, served) in &mut servers {
        let mut figures = served.load(setting, file.path()).context(kind.name())?;
        let resident = served.server.resident()? as f64;
        figures.push(
            "resident_over_pages",
            resident / setting.source.bytes() as f64,
        );
        add(*kind, report::LOADING, figures);
    }
    let passes = LOADED.iter().filter(|pass| wanted(pass.name));
    for (pass, shift) in passes.zip(2..) {
        for (kind, served) in &mut servers {
            let figures = served.run(pass, setting, shift);
            add(*kind, pass.name, figures.context(kind.name())?);
        }
    }
    for (kind, served) in &servers {
        served.verify(setting).context(kind.name())?;
    }
    Ok(rows)
}
