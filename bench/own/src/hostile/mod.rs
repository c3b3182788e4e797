//! `hostile`: a good client of `zs serve` alone, and beside each kind of hostile clients.
//!
//! `a server for each kind -> the good client alone -> hostile clients come -> the good client
//! beside them -> medians -> table, CSV, bar`
//!
//! All are of one user and at one unix socket, so that no share by user or address protects the
//! good one.
//!
//! | module | responsibility |
//! |---|---|
//! | `attack` | the kinds of hostile clients |
//! | `report` | table, CSV, bar |

mod attack;
mod report;

use crate::nbd::client::{Client, Kind as Asked, Request};
use crate::nbd::server::{Kind as Server, Paths, Server as Running};
use crate::note;
use crate::numbers::{XorShift32, quantile};
use anyhow::{Context as _, Result, bail};
use attack::{Attack, Kind};
use clap::{Args, value_parser};
use report::{Report, Row, Times};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of the disk.
const SIZE: u64 = 64 << 20;

/// Lengths of the good client's requests.
const LENGTHS: [u32; 2] = [4 << 10, 1 << 20];

/// A good client of `zs serve`, alone and beside hostile ones.
///
/// It writes and reads 4 KiB and 1 MiB, a request at a time, for a while alone, then beside each
/// kind of hostile clients. The bar: its p99 beside them is at most 3 times that alone.
#[derive(Debug, Args)]
pub(crate) struct Hostile {
    /// Rounds; the figures are medians
    #[arg(long, default_value = "5", value_parser = value_parser!(u32).range(1..=1000))]
    runs: u32,

    /// How long the good client works with requests of one length, alone and beside the others, in
    /// milliseconds
    #[arg(long, default_value = "2000", value_parser = value_parser!(u64).range(10..=600_000))]
    pass_ms: u64,

    /// Only these kinds
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    only: Vec<String>,

    /// The zs that is measured [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    zs: Option<PathBuf>,

    /// Also write the figures to this file, a line for each kind and length
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(options: &Hostile) -> Result<()> {
    let kinds = kinds(&options.only)?;
    let beside = std::env::current_exe()?.with_file_name("zs");
    let paths = Paths {
        zs: options.zs.clone().unwrap_or(beside),
        before: None,
    };
    let pass = Duration::from_millis(options.pass_ms);
    let mut report = Report::new(options.runs);
    for round in 1..=options.runs {
        note(&format!("round {round} of {}", options.runs));
        for kind in &kinds {
            for row in measure(*kind, &paths, pass).context(kind.name())? {
                report.add(row);
            }
        }
    }
    if let Some(path) = &options.csv {
        std::fs::write(path, report.csv()).with_context(|| path.display().to_string())?;
    }
    let written = io::stdout().lock().write_all(report.text().as_bytes());
    written.context("standard output")
}

fn kinds(only: &[String]) -> Result<Vec<Kind>> {
    let is_known = |name: &&String| !Kind::ALL.iter().any(|kind| kind.name() == name.as_str());
    if let Some(unknown) = only.iter().find(is_known) {
        let names = Kind::ALL.map(Kind::name).join(", ");
        bail!("no kind {unknown}: there are {names}");
    }
    let is_wanted = |kind: &Kind| only.is_empty() || only.iter().any(|name| name == kind.name());
    Ok(Kind::ALL.into_iter().filter(is_wanted).collect())
}

/// The good client alone, then beside hostile ones of a kind, at one server.
fn measure(kind: Kind, paths: &Paths, pass: Duration) -> Result<Vec<Row>> {
    let server = Running::start(Server::Zs, paths, SIZE)?;
    let socket = server.socket();
    let mut good = Good::connect(&socket)?;
    good.fill()?;
    let alone = LENGTHS.map(|len| good.times(len, pass));
    let attack = Attack::begin(kind, &socket)?;
    let beside = LENGTHS.map(|len| good.times(len, pass));
    attack.end();
    // It is served to the end, and one that comes new is, too.
    good.client.end()?;
    Client::connect(&socket)?.end()?;
    let rows = LENGTHS.into_iter().zip(alone.into_iter().zip(beside));
    rows.map(|(len, (alone, beside))| {
        Ok(Row {
            kind: kind.name(),
            len,
            alone: alone?,
            beside: beside?,
        })
    })
    .collect()
}

/// The good client, and what it writes.
struct Good {
    client: Client,
    bytes: Vec<u8>,
    numbers: XorShift32,
}

impl Good {
    fn connect(socket: &Path) -> Result<Self> {
        let mut numbers = XorShift32::new(1);
        // Half of it compresses.
        let bytes = (0..1 << 20).map(|at| match at & 64 {
            0 => numbers.draw() as u8,
            _ => 7,
        });
        Ok(Self {
            client: Client::connect(socket)?,
            bytes: bytes.collect(),
            numbers,
        })
    }

    fn fill(&mut self) -> Result<()> {
        let far = Instant::now() + Duration::from_secs(600);
        let requests = (0..SIZE).step_by(self.bytes.len()).map(|offset| Request {
            offset,
            len: self.bytes.len() as u32,
            payload: &self.bytes,
        });
        let none = |_, _: &[u8]| Ok(());
        self.client.pass(Asked::Write, 1, far, requests, none)?;
        Ok(())
    }

    /// How long requests of a length take, writes and reads in turn.
    fn times(&mut self, len: u32, pass: Duration) -> Result<Times> {
        let end = Instant::now() + pass;
        let mut took = Vec::new();
        while Instant::now() < end || took.is_empty() {
            let offset = u64::from(self.numbers.below((SIZE / u64::from(len)) as u32));
            let offset = offset * u64::from(len);
            let expected = &self.bytes[..len as usize];
            for (kind, payload) in [(Asked::Write, expected), (Asked::Read, &[][..])] {
                let request = Request {
                    offset,
                    len,
                    payload,
                };
                let far = Instant::now() + Duration::from_secs(600);
                let one = std::iter::once(request);
                let check = |_, found: &[u8]| match found == expected || found.is_empty() {
                    true => Ok(()),
                    false => bail!("{len} bytes at {offset} came back changed"),
                };
                took.extend(self.client.pass(kind, 1, far, one, check)?.latencies);
            }
        }
        took.sort_unstable();
        let at = |share| quantile(&took, share).unwrap_or_default() as f64 / 1e3;
        Ok(Times {
            p50: at(0.5),
            p99: at(0.99),
        })
    }
}
