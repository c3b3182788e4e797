//! Who is connected to `zs serve`, who is made to go, and who waits for nobody.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::nbd::Client;
use common::server::Server;
use common::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

#[test]
fn clients_are_told_of_and_disconnected() {
    let server = Server::start(&[]);
    assert_eq!(server.told(&["clients"]), "no client is connected\n");
    let mut first = server.client();
    assert_eq!(first.write(0, &[7; 4096]).unwrap(), 0);
    let silent = UnixStream::connect(server.socket()).unwrap();
    let mut second = server.client();
    let list = server.json(&["clients"]);
    let ids: Vec<u64> = (0..3).map(|index| number(&list[index], "id")).collect();
    assert_eq!(ids, [1, 2, 3], "{list}");
    assert_eq!(number(&list[0], "requests"), 2, "{list}");
    assert_eq!(number(&list[0], "bytes"), 512 + 4096, "{list}");
    assert_eq!(number(&list[0], "process"), u64::from(std::process::id()));
    assert_eq!(list[0]["address"], json!(null));
    assert_eq!(
        (&list[0]["export"], &list[1]["export"]),
        (&json!(""), &json!(null))
    );
    let text = server.told(&["clients"]);
    assert!(text.starts_with("ID  FROM"), "{text}");
    assert!(
        text.contains("(handshake)") && text.contains("(default)"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    let text = server.refusal(&["disconnect", "99"]);
    assert!(text.contains("there is no client 99"), "{text}");
    let text = failure(&server.ctl(&["disconnect", "some"]), 2);
    assert!(text.contains("or all"), "{text}");
    assert!(
        server
            .refusal(&["reset"])
            .contains("2 clients are connected")
    );
    let gone = server.json(&["disconnect", "1"]);
    assert_eq!(number(&gone, "disconnected_clients"), 1);
    assert!(first.read(0, 1).is_err());
    assert!(second.read(0, 1).unwrap().is_ok());
    let gone = server.json(&["disconnect", "all"]);
    assert_eq!(number(&gone, "disconnected_clients"), 2);
    server.told(&["reset"]);
    drop(silent);
    server.terminate();
}

#[test]
fn clients_are_those_of_an_export() {
    let server = Server::with_disks(&["--export", "a=1M", "--export", "b=1M"]);
    let mut a = Client::connect(&server.socket(), "a").unwrap();
    let mut b = Client::connect(&server.socket(), "b").unwrap();
    let list = server.json(&["--export", "b", "clients"]);
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list[0]["export"], "b");
    server.told(&["--export", "b", "disconnect", "all"]);
    assert!(b.read(0, 1).is_err());
    assert!(a.read(0, 1).unwrap().is_ok());
    let text = server.refusal(&["--export", "c", "disconnect", "all"]);
    assert!(text.contains("no export \"c\""), "{text}");
    a.leave();
    server.terminate();
}

#[test]
fn an_idle_client_is_disconnected_if_that_was_asked_for() {
    let server = Server::start(&["--idle", "1"]);
    let mut client = server.client();
    let error = client.wait_for_end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    server.terminate();
}

/// `misc.py stopped`: a server that is stopped is given up, after the time that was said.
#[test]
fn a_stopped_server_is_given_up() {
    let server = Server::start(&[]);
    server.signal(Signal::STOP);
    let text = server.refusal(&["--timeout", "2", "stat"]);
    assert!(
        text.contains("no sign of life of the server for 2 s"),
        "{text}"
    );
    server.signal(Signal::CONT);
    server.told(&["stat"]);
    server.terminate();
}

/// `verbose.py`: standard error is a pipe that nobody reads, and more is said than it holds.
#[test]
fn verbose_never_blocks_anybody() {
    let folder = folder();
    let socket = folder.path().join("disk");
    let mut child = Command::new(ZS)
        .args(["serve", "-v", "--size", "16M", "--socket"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut uri = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut uri).unwrap();
    // Each is told of twice, in 100 bytes together or more: more than the pipe holds, 64 KiB.
    for _ in 0..1000 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.read_exact(&mut [0; 18]).unwrap();
    }
    let mut client = Client::connect(&socket, "").unwrap();
    assert_eq!(client.write(0, b"served").unwrap(), 0);
    client.leave();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains("connection 9: opened by user"), "{said}");
}

/// All places at the control socket are taken by silent connections: who asks for something finds
/// room.
#[test]
fn silent_control_connections_keep_nobody_out() {
    let server = Server::start(&[]);
    let path = server.folder.path().join("disk.ctl");
    let mut silent: Vec<_> = (0..16)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    for _ in 0..3 {
        server.told(&["stat"]);
    }
    // The oldest one made room.
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0);
    server.terminate();
}
