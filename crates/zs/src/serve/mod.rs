//! `zs serve`: disks for whoever speaks NBD, until a signal, or for one command.
//!
//! | module | responsibility |
//! |---|---|
//! | `disks` | which disks are served, and how they store |
//! | `disk` | a disk: a store as NBD sees it |
//! | `place` | where clients connect |
//! | `console` | the control socket |
//! | `seats` | who is at it |
//! | `verbs` | what `zs ctl` asks for, done |
//! | `snapshots` | files that it names, made and read |
//! | `report` | what there is to know of a disk |
//! | `metrics` | the same as Prometheus reads it |
//! | `log` | lines for people, which nobody waits to have read |
//! | `ending` | signals, and the command that the server runs for |

mod console;
mod disk;
mod disks;
mod ending;
mod log;
mod metrics;
mod place;
mod report;
mod seats;
mod snapshots;
mod verbs;

use crate::failure::Failure;
use crate::units::Size;
use clap::Args;
use console::Console;
use disk::StoreDisk;
use disks::DiskArgs;
use ending::Ending;
use log::Log;
use place::{Place, tcp_address};
use snapshots::Files;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;
use zs_nbd::{
    Device, Event, Export, Exports, InvalidExport, Limits, PrivateListener, Server, Stopped, Tls,
};

/// How long clients get at the end to take the replies to what they asked for, and `zs ctl` to what it did.
const GRACE: Duration = Duration::from_secs(10);

/// Serve disks of compressed memory to whoever speaks NBD
///
/// Without --socket, at a unix socket in a new folder that only its owner can enter, or at those
/// that LISTEN_FDS names. Prints the URIs of each disk, unless --run or LISTEN_FDS is given, and
/// ends with a signal (INT, TERM, HUP): requests that have arrived are finished and answered first;
/// a second signal ends it at once. `zs ctl` talks to it through a second socket.
#[derive(Debug, Args)]
#[command(override_usage = "zs serve [OPTIONS] <--size SIZE|--export NAME=SIZE...>")]
pub(crate) struct Options {
    #[command(flatten)]
    disks: DiskArgs,

    /// Where the unix socket is made, for this user and root only; `-` is a new folder
    #[arg(long, short, short_alias = 'U', value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Where the socket for `zs ctl` is made [default: the path of the unix socket and .ctl; with
    /// LISTEN_FDS there is none]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Also listen at an address and port, 0 for a free one; any user of this machine comes in, and
    /// beyond it --tls is needed
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = tcp_address)]
    tcp: Option<SocketAddr>,

    /// Of --tcp: the server's certificate, its key, and the authority whose clients come in, in PEM files
    #[arg(long, num_args = 3, value_names = ["CERT", "KEY", "CA"], requires = "tcp")]
    tls: Option<Vec<PathBuf>>,

    /// Folder below which `zs ctl` may name files, for snapshots and dictionaries
    #[arg(long, value_name = "DIR")]
    allow_dir: Option<PathBuf>,

    /// File to write the process number to, once clients can connect
    #[arg(long, short = 'P', value_name = "FILE")]
    pidfile: Option<PathBuf>,

    /// Serve for as long as this command of the shell runs, which finds the first disk in $uri, all
    /// URIs in $uris and the socket in $unixsocket; ends as the command does
    #[arg(long, value_name = "CMD")]
    run: Option<String>,

    /// Disconnect clients that neither sent nor took a byte for so long [default: never; but one that was idle for a minute makes room
    /// for another client when all places are taken]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    idle: Option<u64>,

    /// Say on standard error who connects, what clients are refused, and how connections end
    #[arg(long, short)]
    verbose: bool,
}

fn failed(what: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(what.to_string())
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let log = Log::start(io::stderr(), None)?;
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| panics.say(&format!("{panic}\n"))));
    let code = serve(options, &log).unwrap_or_else(|failure| failure.tell(|line| log.say(line)));
    log.finish();
    Ok(code)
}

fn serve(options: &Options, log: &Log) -> Result<ExitCode, Failure> {
    let mut place = Place::new(options.socket.as_deref(), options.control.as_deref())?;
    let files = Files::below(options.allow_dir.as_deref())?;
    if options.allow_dir.is_some() && place.control().is_none() {
        let text = "--allow-dir: without a control socket nobody names files: add --control PATH";
        return Err(Failure::Usage(text.to_owned()));
    }
    let disks = options.disks.open()?;
    let mut ending = Ending::prepare()?;
    // Before the first client is let in, whose server has one then.
    let control = place.control().map(PrivateListener::bind).transpose();
    let control = control.map_err(|error| failed(&error))?;
    let server = start(options, &mut place, &disks, log)?;
    let console =
        control.map(|socket| Console::start(socket, disks.clone(), files, server.clients()));
    let console = console.transpose()?;
    let pidfile = options.pidfile.as_deref().map(PidFile::write).transpose()?;
    let uris = place.uris(disks.iter().map(|disk| disk.name()));
    let code = match &options.run {
        Some(command) => {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", command]);
            shell.env("uri", uris.first().map_or("", String::as_str));
            shell.env("uris", uris.join("\n"));
            shell.envs(place.socket().map(|path| ("unixsocket", path)));
            ending::exit_code(ending.run(&mut shell)?)
        }
        None => {
            place.announce(&uris, options.verbose, log)?;
            ending.wait()?;
            ExitCode::SUCCESS
        }
    };
    if console.is_some_and(|console| !console.stop()) {
        log.note("what zs ctl asked for took too long, and was cut off");
    }
    match server.stop(GRACE) {
        Stopped::InTime => {}
        Stopped::CutOff => log.note("clients that did not take their replies were cut off"),
        Stopped::Stuck(_) => log.note("requests were cut off that did not come to an end"),
    }
    drop(pidfile);
    Ok(code)
}

fn start(
    options: &Options,
    place: &mut Place,
    disks: &[Arc<StoreDisk>],
    log: &Log,
) -> Result<Server, Failure> {
    let export = |disk: &Arc<StoreDisk>| {
        let device = Arc::clone(disk) as Arc<dyn Device>;
        Export::new(disk.name(), "compressed memory", device)
    };
    let exports: Result<Vec<Export>, InvalidExport> = disks.iter().map(export).collect();
    let exports = exports.and_then(Exports::new);
    let exports = exports.map_err(|error| Failure::Usage(format!("--export: {error}")))?;
    let tls = match options.tls.as_deref() {
        Some([certificate, key, authority]) => {
            let tls = Tls::from_files(certificate, key, authority);
            Some(tls.map_err(|error| failed(&error))?)
        }
        _ => None,
    };
    let endpoints = place.listen(options.tcp, tls)?;
    let limits = limits(options, disks);
    log.note(&format!(
        "requests and replies of {} clients take at most {}, beside what is stored",
        limits.connections,
        Size(limits.most_memory() as u64)
    ));
    let (verbose, told) = (options.verbose, log.clone());
    let observer = move |event: &Event| {
        if verbose {
            told.note(&event.to_string());
        }
    };
    let server = Server::start(exports, endpoints, limits, Arc::new(observer));
    server.map_err(|error| failed(&error))
}

/// Of what is lent to clients, a little at least.
const LEAST_LENT: usize = 8 << 20;

/// What clients may take: of memory, an eighth of what the disks may, but no more than is of use.
fn limits(options: &Options, disks: &[Arc<StoreDisk>]) -> Limits {
    let stored = disks.iter().map(|disk| disk.store().limit());
    let share = stored.fold(0, u64::saturating_add) / 8;
    let most = Limits::default();
    Limits {
        memory: usize::try_from(share)
            .map_or(most.memory, |share| share.clamp(LEAST_LENT, most.memory)),
        idle: options.idle.map(Duration::from_secs),
        ..most
    }
}

/// A file with the number of this process, removed when this is dropped.
struct PidFile<'a>(&'a Path);

impl<'a> PidFile<'a> {
    fn write(path: &'a Path) -> Result<Self, Failure> {
        let number = format!("{}\n", std::process::id());
        let written = fs::write(path, number);
        written.map_err(|error| failed(&format!("--pidfile {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        // Whoever removed it was quicker.
        let _ = fs::remove_file(self.0);
    }
}
