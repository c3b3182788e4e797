//! `zs serve`: where clients and `zs ctl` connect, and how they learn of it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::nbd::Client;
use common::server::{Server, names};
use common::users::{NOBODY, as_nobody, world_readable};
use common::*;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};

/// The server finds its socket as descriptor 3, and that it is meant for this process.
fn activated(tool: &str, listener: UnixListener, arguments: &str) -> Command {
    let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 exec {tool} serve --size 1M {arguments} 3<&0");
    let mut command = Command::new("sh");
    let listener = OwnedFd::from(listener);
    command.args(["-c", &script]).stdin(listener);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ends it in order, and returns what it printed.
fn terminated(server: Child) -> Output {
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    let output = server.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Whether nothing is said but the limits, which are told at every start.
fn only_limits(said: &str) -> bool {
    let mut lines = said.lines();
    lines.all(|line| {
        line.starts_with("zs: note: the limit is ")
            || line.starts_with("zs: note: requests and replies of ")
    })
}

/// libnbd starts a server with its own standard output, to which it writes data, and a socket in a
/// folder that it removes at the end, which fails if anything else is in it.
#[test]
fn a_server_that_is_lent_a_socket_prints_and_leaves_nothing() {
    let folder = folder();
    let socket = folder.path().join("disk");
    let waiting = UnixListener::bind(&socket).unwrap();
    // Before the server runs: whoever starts it has its socket already.
    let early = std::thread::spawn({
        let socket = socket.clone();
        move || Client::connect(&socket, "").unwrap()
    });
    let server = activated(ZS, waiting, "").spawn().unwrap();
    let client = early.join().unwrap();
    assert_eq!(names(folder.path()), ["disk"]);
    client.leave();
    let output = terminated(server);
    assert_eq!(stdout(&output), "");
    assert!(only_limits(stderr(&output)), "{output:?}");
    assert_eq!(names(folder.path()), ["disk"], "it is not the server's own");
}

/// Who is let in finds a control socket, wherever it was asked for.
#[test]
fn the_control_socket_is_there_before_the_first_client() {
    let (theirs, ours) = (folder(), folder());
    let socket = theirs.path().join("disk");
    let control = ours.path().join("control");
    let waiting = UnixListener::bind(&socket).unwrap();
    let path = socket.clone();
    let early = std::thread::spawn(move || Client::connect(&path, "").unwrap());
    let arguments = format!("--tcp 127.0.0.1:0 --control {}", control.display());
    let server = activated(ZS, waiting, &arguments).spawn().unwrap();
    let client = early.join().unwrap();
    let ask = || zs(&["ctl", "--control"]).arg(&control).arg("stat").output();
    let told = ask().unwrap();
    assert!(told.status.success(), "{told:?}");
    assert_eq!(names(theirs.path()), ["disk"]);
    client.leave();
    let output = terminated(server);
    assert_eq!(stdout(&output), "");
    // Nobody but the server knows its port.
    assert!(stderr(&output).contains("nbd://127.0.0.1:"), "{output:?}");
    assert!(names(ours.path()).is_empty());
    let text = failure(&ask().unwrap(), 1);
    assert!(text.contains("with that --control"), "{text}");
}

/// A control socket that cannot be made keeps everybody out, not only those who come later.
#[test]
fn nobody_is_let_in_without_the_control_socket() {
    let server = Server::start(&[]);
    let own = folder();
    let (socket, control) = (own.path().join("disk"), server.socket());
    let mut second = zs(&["serve", "--size", "1M", "--run", "exit 7"]);
    second.arg("--socket").arg(&socket);
    let output = second.arg("--control").arg(&control).output().unwrap();
    let text = failure(&output, 1);
    assert!(text.contains("in use by another server"), "{text}");
    assert!(names(own.path()).is_empty());
    server.terminate();
}

#[test]
fn files_cannot_be_named_without_a_control_socket() {
    let folder = folder();
    let waiting = UnixListener::bind(folder.path().join("disk")).unwrap();
    let allowed = format!("--allow-dir {}", folder.path().display());
    let output = activated(ZS, waiting, &allowed).output().unwrap();
    let text = failure(&output, 2);
    assert!(text.contains("add --control PATH"), "{text}");
}

#[test]
fn what_cannot_be_taken_over_is_said() {
    let folder = folder();
    let listener = UnixListener::bind(folder.path().join("disk")).unwrap();
    let output = activated(ZS, listener, "--socket x").output().unwrap();
    let text = failure(&output, 2);
    assert!(text.contains("LISTEN_FDS"), "{text}");
    let pair = UnixStream::pair().unwrap().0;
    let wrong = UnixListener::from(OwnedFd::from(pair));
    let text = failure(&activated(ZS, wrong, "").output().unwrap(), 1);
    assert!(text.contains("LISTEN_FDS"), "{text}");
}

/// A service user may be lent a socket in a folder where only root may write.
#[test]
fn a_service_user_needs_no_folder_of_the_socket() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root starts a server of another user");
        return;
    }
    let (tool, place) = (world_readable(), folder());
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let socket = place.path().join("disk");
    let waiting = UnixListener::bind(&socket).unwrap();
    let path = socket.clone();
    let early = std::thread::spawn(move || Client::connect(&path, "").unwrap());
    let zs = tool.path().join("zs");
    let mut server = activated(zs.to_str().unwrap(), waiting, "");
    let server = server.uid(NOBODY).gid(NOBODY).current_dir("/").spawn();
    let server = server.unwrap();
    early.join().unwrap().leave();
    let output = terminated(server);
    assert_eq!(stdout(&output), "");
    assert!(only_limits(stderr(&output)), "{output:?}");
    // Where it may not write, a socket that was asked for is refused, with its path.
    let control = place.path().join("control");
    let mut refused = as_nobody(&tool);
    refused.args(["serve", "--size", "1M", "--run", "true", "--control"]);
    let text = failure(&refused.arg(&control).output().unwrap(), 1);
    assert!(text.contains(control.to_str().unwrap()), "{text}");
}

/// Each listener of each disk, and of TCP the port that it was given.
#[test]
fn every_listener_is_printed_as_a_uri() {
    let place = folder();
    let socket = place.path().join("disk");
    let script = format!(
        "echo \"$uris\"; {ZS} ctl -s {} stat > /dev/null",
        socket.display()
    );
    let mut server = zs(&["serve", "--export", "a b=1M", "--export", "c=1M"]);
    server.args(["--tcp", "127.0.0.1:0", "--run", &script, "--socket"]);
    let output = server.arg(&socket).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let uris: Vec<&str> = stdout(&output).lines().collect();
    let shown = socket.display();
    assert_eq!(uris[0], format!("nbd+unix:///a%20b?socket={shown}"));
    assert_eq!(uris[1], format!("nbd+unix:///c?socket={shown}"));
    let tcp = uris[2].strip_suffix("/a%20b").unwrap();
    assert_eq!(uris[3], format!("{tcp}/c"));
    let port: u16 = tcp
        .strip_prefix("nbd://127.0.0.1:")
        .unwrap()
        .parse()
        .unwrap();
    assert_ne!(port, 0);
    assert_eq!(uris.len(), 4);
    // The same are printed where there is no command.
    let mut server = zs(&["serve", "--size", "1M", "--tcp", "127.0.0.1:0"]);
    let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let [unix, tcp] = [(); 2].map(|()| lines.next().unwrap().unwrap());
    assert!(unix.starts_with("nbd+unix:///?socket=/"), "{unix}");
    let address = tcp.strip_prefix("nbd://").unwrap();
    let mut client = TcpStream::connect(address.strip_suffix('/').unwrap()).unwrap();
    let mut greeting = [0; 16];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"NBDMAGICIHAVEOPT");
    drop(client);
    terminated(server);
    assert!(lines.next().is_none());
}

#[test]
fn a_folder_that_is_made_is_its_owners() {
    let script = "stat -c %a \"$(dirname \"$unixsocket\")\"";
    let output = zs(&["serve", "--size", "1M", "--run", script])
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "700\n");
}
