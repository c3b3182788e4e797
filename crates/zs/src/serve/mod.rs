//! `zs serve`: disks for whoever speaks NBD, until a signal, or for one command.
//!
//! | module | responsibility |
//! |---|---|
//! | `disks` | which disks are served, and how they store |
//! | `disk` | a disk: a store as NBD sees it |
//! | `fullness` | when it becomes full, and when it is so no longer |
//! | `limits` | how much memory each may take, and why |
//! | `keeping` | files that they begin with, and are saved to |
//! | `replacing` | such a file, which replaces no other one |
//! | `pidfile` | the file with the process number |
//! | `place` | where clients connect |
//! | `console` | the control socket |
//! | `seats` | who is at it |
//! | `verbs` | what `zs ctl` asks for, done |
//! | `snapshots` | files that it names, made and read |
//! | `report` | what there is to know of a disk |
//! | `metrics` | the same as Prometheus reads it |
//! | `log` | lines for people, which nobody waits to have read |
//! | `lifetime` | signals, and the command that the server runs for |

mod backing;
mod console;
mod disk;
mod disks;
mod fullness;
mod keeping;
mod lifetime;
mod limits;
mod log;
mod metrics;
mod pidfile;
mod place;
mod refused;
mod replacing;
mod report;
mod seats;
mod snapshots;
mod verbs;

use crate::args::number_in;
use crate::failure::{Failure, failed};
use crate::output;
use crate::units::{SIZES, Size};
use clap::Args;
use console::Console;
use disk::StoreDisk;
use disks::DiskArgs;
use keeping::{KeepArgs, Keeping};
use lifetime::Lifetime;
use log::Log;
use pidfile::PidFile;
use place::{Place, tcp_address};
use snapshots::Files;
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;
use zs_nbd::{
    Device, Event, Export, Exports, InvalidExport, Limits, PrivateListener, Server, Stopped, Tls,
};

const ABOUT: &str = "\
Prints the URIs of each disk, unless --run or LISTEN_FDS is given, and serves until a signal: `kill`, or Ctrl-C. Requests that have \
arrived are answered first. A second signal, a second or more after the first, ends the server at once; with --run, one within ten seconds of the first.

The contents of a disk end with the server, unless --save names a file: they are written there first, however many signals come. An \
end that loses contents says so on standard error.

Exit codes: 0 done; 1 failed; 2 wrong arguments; with --run, that of the command.

Examples:
  zs serve --size 8G --socket /run/user/1000/disk
  zs serve --size 8G --load disk.zs --save disk.zs
  zs serve --size 8G --run 'qemu-img convert -n -O raw in.qcow2 \"$uri\"'
  zs ctl --socket /run/user/1000/disk stat";

/// Serve disks of compressed memory to NBD clients: QEMU, nbdcopy, nbd-client
#[derive(Debug, Args)]
#[command(override_usage = "zs serve [OPTIONS] <--size SIZE|--export NAME=SIZE...|--load FILE>")]
#[command(after_help = format!("{ABOUT}\n\n{SIZES}"))]
pub(crate) struct Options {
    #[command(flatten)]
    disks: DiskArgs,

    #[command(flatten)]
    keep: KeepArgs,

    /// Path of the unix socket, which only this user and root can use; `-` is one in a new folder
    /// [default: -, or the sockets that LISTEN_FDS names]
    #[arg(long, short, short_alias = 'U', value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Path of the socket for `zs ctl` [default: the path of the unix socket with .ctl added; none
    /// with LISTEN_FDS]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Also listen at this address and port; port 0 takes a free one. At 127.0.0.1 and ::1 every
    /// user of this machine comes in; other addresses need --tls
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = tcp_address)]
    tcp: Option<SocketAddr>,

    /// For --tcp: PEM files of the server's certificate, of its key, and of the authority that
    /// signs the certificates of clients
    #[arg(long, num_args = 3, value_names = ["CERT", "KEY", "CA"], requires = "tcp")]
    tls: Option<Vec<PathBuf>>,

    /// Folder below which `zs ctl` may name files, for snapshots and dictionaries
    #[arg(long, value_name = "DIR")]
    allow_dir: Option<PathBuf>,

    /// Write the process number to this file, once clients can connect; one that holds a process
    /// number is replaced, and any other file refused; it is removed at the end
    #[arg(long, short = 'P', value_name = "FILE")]
    pidfile: Option<PathBuf>,

    /// Serve while this shell command runs, and exit with its code. It finds the URI of the first
    /// disk in $uri, all URIs in $uris, and the path of the unix socket in $unixsocket
    #[arg(long, value_name = "CMD")]
    run: Option<String>,

    /// Disconnect clients that neither sent nor took a byte for so many seconds [default: never;
    /// but when all 64 places are taken, a TCP client that was idle for a minute makes room
    /// for another]
    #[arg(long, value_name = "SECONDS", value_parser = number_in(1..=u64::MAX))]
    idle: Option<u64>,

    /// Print on standard error each connection, each kind of refused request, and the end of each
    /// connection
    #[arg(long, short)]
    verbose: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let log = Log::start(io::stderr(), None)?;
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| panics.say(&format!("{panic}\n"))));
    let notes = log.clone();
    output::redirect_notes(move |text| notes.note(text));
    let code =
        serve_disks(options, &log).unwrap_or_else(|failure| failure.tell(|line| log.say(line)));
    log.finish();
    Ok(code)
}

/// Makes or loads the disks, serves them, and saves them.
fn serve_disks(options: &Options, log: &Log) -> Result<ExitCode, Failure> {
    let lifetime = Lifetime::prepare()?;
    let names = options.disks.names();
    let mut files = options.keep.files(&names)?;
    limits::allow_open_files(names.len().max(1));
    let disks = options.disks.open(&mut files)?;
    let keeping = Keeping::new(&disks, files)?;
    lifetime.serving(keeping.saves());
    let outcome = serve(options, &disks, &lifetime, &keeping, log);
    keeping.end(outcome.is_err(), &lifetime);
    outcome
}

/// Serves the disks until the end.
fn serve(
    options: &Options,
    disks: &[Arc<StoreDisk>],
    lifetime: &Lifetime,
    keeping: &Keeping,
    log: &Log,
) -> Result<ExitCode, Failure> {
    let mut place = Place::new(options.socket.as_deref(), options.control.as_deref())?;
    let files = Files::below(options.allow_dir.as_deref())?;
    if options.allow_dir.is_some() && place.control().is_none() {
        let text = "--allow-dir: without a control socket nobody names files: add --control PATH";
        return Err(Failure::Usage(text.to_owned()));
    }
    // Before the first client is let in, whose server has one then.
    let control = place.control().map(PrivateListener::bind).transpose();
    let control = control.map_err(|error| place::unusable(&error))?;
    let server = start(options, &mut place, disks, log)?;
    let console =
        control.map(|socket| Console::start(socket, disks.to_vec(), files, server.clients()));
    let console = console.transpose()?;
    let pidfile = options.pidfile.as_deref().map(PidFile::write).transpose();
    // Without one it ends, too, in the same order: zs ctl may have begun something by now.
    let outcome = match &pidfile {
        Ok(_) => wait(options, &place, disks, (lifetime, keeping), log),
        Err(_) => Ok(ExitCode::FAILURE),
    };
    if console.is_some_and(|console| !console.stop()) {
        log.note("what zs ctl asked for took too long, and was cut off");
    }
    match server.stop(console::GRACE) {
        Stopped::InTime => {}
        Stopped::CutOff => log.note("clients that did not take their replies were cut off"),
        Stopped::Stuck(_) => log.note("requests were cut off that did not come to an end"),
    }
    pidfile.and(outcome)
}

/// Waits for the end: that of the command, or a signal.
fn wait(
    options: &Options,
    place: &Place,
    disks: &[Arc<StoreDisk>],
    (lifetime, keeping): (&Lifetime, &Keeping),
    log: &Log,
) -> Result<ExitCode, Failure> {
    let uris = place.uris(disks.iter().map(|disk| disk.name()));
    if let Some(command) = &options.run {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]);
        shell.env("uri", uris.first().map_or("", String::as_str));
        shell.env("uris", uris.join("\n"));
        shell.envs(place.socket().map(|path| ("unixsocket", path)));
        return lifetime.run(&mut shell).map(lifetime::exit_code);
    }
    place.announce(&uris, options.verbose, log)?;
    lifetime.wait(|| {
        let loses = keeping.would_lose();
        if loses {
            log.note(
                "SIGHUP: the server goes on, since contents would be lost that no --save keeps; INT or TERM ends it",
            );
        }
        loses
    });
    Ok(ExitCode::SUCCESS)
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
    let exports = exports.map_err(|error| {
        let names = || disks.iter().map(|disk| disk.name());
        let mut seen = HashSet::new();
        let name = match error {
            InvalidExport::Twice => names().find(|name| !seen.insert(*name)),
            _ => None,
        };
        let name = name.map_or_else(String::new, |name| format!(" {name}"));
        Failure::Usage(format!("--export{name}: {error}"))
    })?;
    let tls = match options.tls.as_deref() {
        Some([certificate, key, authority]) => {
            let tls = Tls::from_files(certificate, key, authority);
            Some(tls.map_err(|error| failed(format!("--tls {error}")))?)
        }
        _ => None,
    };
    let endpoints = place.listen(options.tcp, tls)?;
    let limits = bounds(options, disks);
    if options.verbose {
        log.note(&format!(
            "requests and replies of {} clients take at most {}, beside what is stored",
            limits.connections,
            Size(limits.most_memory() as u64)
        ));
    }
    let (verbose, told) = (options.verbose, log.clone());
    let observer = move |event: &Event| {
        if verbose {
            told.detail(&event.to_string());
        }
    };
    let server = Server::start(exports, endpoints, limits, Arc::new(observer));
    server.map_err(|error| failed(&error))
}

/// Of what is lent to clients, a little at least.
const LEAST_LENT: usize = 8 << 20;

/// Returns what clients may take: of memory, an eighth of what the disks may, but no more than is
/// of use.
fn bounds(options: &Options, disks: &[Arc<StoreDisk>]) -> Limits {
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
