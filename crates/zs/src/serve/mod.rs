//! `zs serve`: a disk for whoever speaks NBD, until a signal, or for one command.
//!
//! | module | responsibility |
//! |---|---|
//! | `disk` | the disk that is served: a store as NBD sees it |
//! | `verbs` | what `zs ctl` asks for, done |
//! | `console` | the control socket |

mod console;
mod disk;
mod verbs;

use crate::cli::page_size;
use crate::control;
use crate::failure::Failure;
use crate::output;
use crate::units::parse_size;
use clap::Args;
use disk::StoreDisk;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::fs;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use zram::{Algorithm, BlockSize, Store, StoreOptions};
use zs_nbd::{Device, Endpoint, Event, Export, Exports, Limits, Server, Stopped, Tls};

/// How long clients get at the end to take the replies to what they asked for.
const GRACE: Duration = Duration::from_secs(10);

/// Serve a disk of compressed memory to whoever speaks NBD
///
/// Without --socket and --tcp, at a unix socket in a new folder that only its owner can enter. Prints the disk's URI, and ends
/// with a signal (INT, TERM, HUP): requests that have arrived are finished and answered first. `zs ctl` talks to it through a
/// second socket, PATH.ctl.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Size of the disk, as in 8G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: u64,

    /// Bytes that are compressed together
    #[arg(long, value_name = "SIZE", value_parser = page_size(), default_value = "4k")]
    block_size: BlockSize,

    /// How blocks are compressed: lz4, lz4hc, zstd, deflate, with a level as in zstd:3, or none
    #[arg(long, short, value_name = "ALGORITHM", default_value = "lz4")]
    algorithm: Algorithm,

    /// Where the unix socket is made: for this user and root only
    #[arg(long, short, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Also listen at an address and port; any user of this machine comes in, and beyond it --tls is needed
    #[arg(long, value_name = "ADDRESS:PORT")]
    tcp: Option<SocketAddr>,

    /// Of --tcp: the server's certificate, its key, and the authority whose clients come in, in PEM files
    #[arg(long, num_args = 3, value_names = ["CERT", "KEY", "CA"], requires = "tcp")]
    tls: Option<Vec<PathBuf>>,

    /// Name of the export
    #[arg(long, value_name = "NAME", default_value = "")]
    export: String,

    /// Nobody can write
    #[arg(long)]
    read_only: bool,

    /// Folder below which `zs ctl snapshot` and `load` may name files
    #[arg(long, value_name = "DIR")]
    allow_dir: Option<PathBuf>,

    /// File to write the process number to, once clients can connect
    #[arg(long, short = 'P', value_name = "FILE")]
    pidfile: Option<PathBuf>,

    /// Serve for as long as this command of the shell runs, which finds the URI in $uri; ends as the command does
    #[arg(long, value_name = "CMD")]
    run: Option<String>,

    /// Say on standard error who connects, and how connections end
    #[arg(long, short)]
    verbose: bool,
}

/// Largest disk: offsets of files have 63 bits.
const MAX_SIZE: u64 = i64::MAX as u64;

fn size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a disk of 0 bytes holds nothing: expected a size, as in 8G".to_owned()),
        size if size > MAX_SIZE => Err(format!("the largest disk has {MAX_SIZE} bytes")),
        size => Ok(size),
    }
}

fn failed(what: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(what.to_string())
}

/// Where the unix socket is, and the folder made for it, which goes at the end.
struct Place {
    socket: PathBuf,
    _folder: Option<TempDir>,
}

impl Place {
    fn new(asked: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = asked {
            let socket = std::path::absolute(path).map_err(|error| failed(&error))?;
            return Ok(Self {
                socket,
                _folder: None,
            });
        }
        let folder = tempfile::Builder::new().prefix("zs-").tempdir();
        let folder = folder.map_err(|error| failed(&error))?;
        Ok(Self {
            socket: folder.path().join("nbd"),
            _folder: Some(folder),
        })
    }

    /// The URI of the disk; letters that mean something in a URI are escaped.
    fn uri(&self, export: &str) -> String {
        let export = escape(export.as_bytes(), b"");
        let socket = escape(self.socket.as_os_str().as_encoded_bytes(), b"/");
        format!("nbd+unix:///{export}?socket={socket}")
    }
}

fn escape(bytes: &[u8], also: &[u8]) -> String {
    let mut escaped = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || also.contains(byte) {
            escaped.push(char::from(*byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let disk = Arc::new(open(options)?);
    let place = Place::new(options.socket.as_deref())?;
    let (end, mut ended) = UnixStream::pair().map_err(|error| failed(&error))?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let end = end.try_clone().map_err(|error| failed(&error))?;
        pipe::register(signal, end).map_err(|error| failed(&error))?;
    }
    let server = start(options, &place, Arc::clone(&disk))?;
    let console = console::Console::start(
        &control::beside(&place.socket),
        disk,
        options.allow_dir.as_deref(),
    )?;
    if let Some(path) = &options.pidfile {
        let number = format!("{}\n", std::process::id());
        let written = fs::write(path, number);
        written.map_err(|error| failed(&format!("{}: {error}", path.display())))?;
    }
    let uri = place.uri(&options.export);
    let status = match &options.run {
        Some(command) => Some(run_command(command, &uri, &place.socket, end, &mut ended)?),
        None => {
            output::print(&format!("{uri}\n"))?;
            wait(&mut ended)?;
            None
        }
    };
    drop(console);
    match server.stop(GRACE) {
        Stopped::InTime => {}
        Stopped::CutOff => output::note("clients that did not take their replies were cut off"),
        Stopped::Stuck(_) => output::note("requests were cut off that did not come to an end"),
    }
    if let Some(path) = &options.pidfile {
        // Whoever removed it was quicker.
        let _ = fs::remove_file(path);
    }
    Ok(status.map_or(ExitCode::SUCCESS, exit_code))
}

fn open(options: &Options) -> Result<StoreDisk, Failure> {
    let mut wanted = StoreOptions::new(options.size);
    wanted.block_size = options.block_size;
    wanted.algorithm = options.algorithm;
    let store = Store::new(wanted).map_err(|error| failed(&error))?;
    Ok(StoreDisk::new(&options.export, options.read_only, store))
}

fn start(options: &Options, place: &Place, disk: Arc<StoreDisk>) -> Result<Server, Failure> {
    let export = Export::new(
        disk.name(),
        "zs serve",
        Arc::clone(&disk) as Arc<dyn Device>,
    );
    let exports = export.and_then(|export| Exports::new(vec![export]));
    let exports = exports.map_err(|error| failed(&error))?;
    let tls = match options.tls.as_deref() {
        Some([certificate, key, authority]) => {
            let tls = Tls::from_files(certificate, key, authority);
            Some(tls.map_err(|error| failed(&error))?)
        }
        _ => None,
    };
    let mut endpoints = vec![Endpoint::unix(&place.socket).map_err(|error| failed(&error))?];
    if let Some(address) = options.tcp {
        let endpoint = Endpoint::tcp(address, tls);
        endpoints.push(endpoint.map_err(|error| failed(&error))?);
    }
    let verbose = options.verbose;
    let observer = move |event: &Event| {
        if verbose {
            output::note(&format!("{event:?}"));
        }
    };
    let server = Server::start(exports, endpoints, Limits::default(), Arc::new(observer));
    server.map_err(|error| failed(&error))
}

/// Waits for a signal, or for the end of the command.
fn wait(ended: &mut UnixStream) -> Result<(), Failure> {
    loop {
        match ended.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(&error)),
            Ok(_) => return Ok(()),
        }
    }
}

/// Runs the command to its end. A signal ends the wait, and the server under the command; the command then decides itself.
fn run_command(
    command: &str,
    uri: &str,
    socket: &Path,
    end: UnixStream,
    ended: &mut UnixStream,
) -> Result<ExitStatus, Failure> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("uri", uri)
        .env("unixsocket", socket)
        .spawn()
        .map_err(|error| failed(&format!("/bin/sh: {error}")))?;
    let waiting = std::thread::spawn(move || {
        let status = child.wait();
        // The other end reads or is gone.
        let _ = end.shutdown(std::net::Shutdown::Both);
        status
    });
    wait(ended)?;
    let status = waiting.join();
    let status = status.map_err(|_| failed(&"the thread that waits for the command failed"))?;
    status.map_err(|error| failed(&error))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    // A command that a signal ended has no code; shells say 128 and more.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_escaped() {
        let place = Place {
            socket: "/tmp/a b&c".into(),
            _folder: None,
        };
        let uri = place.uri("d/e");
        assert_eq!(uri, "nbd+unix:///d%2Fe?socket=/tmp/a%20b%26c");
    }

    #[test]
    fn sizes_are_those_of_a_disk() {
        assert_eq!(size("8G"), Ok(8 << 30));
        assert_eq!(size("1"), Ok(1));
        assert!(size("0").unwrap_err().contains("holds nothing"));
        assert!(size("9223372036854775808").unwrap_err().contains("largest"));
    }
}
