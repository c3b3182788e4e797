//! `zs serve` and `zs ctl`, together and apart.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::*;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server at `folder/disk`, and its URI, which it prints when clients can connect.
fn serve(folder: &Path, more: &[&str]) -> (Child, String) {
    let mut server = Command::new(ZS)
        .args(["serve", "--size", "64M", "--socket"])
        .arg(folder.join("disk"))
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut uri = String::new();
    let out = server.stdout.as_mut().unwrap();
    BufReader::new(out).read_line(&mut uri).unwrap();
    (server, uri.trim_end().to_owned())
}

fn terminate(mut server: Child) {
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
}

fn ctl(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let socket = folder.join("disk");
    zs(&["ctl", "--socket", socket.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_server_is_asked_and_ended() {
    let folder = folder();
    let folder = folder.path();
    let pidfile = folder.join("pid");
    let (server, uri) = serve(folder, &["--pidfile", pidfile.to_str().unwrap()]);
    assert_eq!(
        uri,
        format!("nbd+unix:///?socket={}/disk", folder.display())
    );
    let number = fs::read_to_string(&pidfile).unwrap();
    assert_eq!(number.trim(), server.id().to_string());
    let mut greeting = [0; 8];
    let mut client = UnixStream::connect(folder.join("disk")).unwrap();
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"NBDMAGIC");
    let stat = ctl(folder, &["--json", "stat"]);
    assert!(stat.status.success());
    let stat: serde_json::Value = serde_json::from_slice(&stat.stdout).unwrap();
    assert_eq!(stat["size"], 64 << 20);
    let second = zs(&["serve", "--size", "1M", "--socket"])
        .arg(folder.join("disk"))
        .output();
    let text = failure(&second.unwrap(), 1);
    assert!(text.contains("in use by another server"), "{text}");
    terminate(server);
    assert_eq!(
        fs::read_dir(folder).unwrap().count(),
        0,
        "something is left"
    );
    let text = failure(&ctl(folder, &["stat"]), 1);
    assert!(text.contains("disk.ctl"), "{text}");
}

#[test]
fn the_control_socket_takes_requests_only() {
    let folder = folder();
    let folder = folder.path();
    let (server, _) = serve(folder, &[]);
    let mut console = UnixStream::connect(folder.join("disk.ctl")).unwrap();
    console
        .write_all(b"hello\n{\"command\":\"stat\"}\n")
        .unwrap();
    let mut lines = BufReader::new(&console).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("{\"error\":"));
    assert!(lines.next().unwrap().unwrap().starts_with("{\"ok\":"));
    let text = failure(&ctl(folder, &["snapshot", "/tmp/file"]), 1);
    assert!(text.contains("--allow-dir"), "{text}");
    // Longer than any line: the end, without an answer.
    let mut flood = UnixStream::connect(folder.join("disk.ctl")).unwrap();
    flood.write_all(&vec![b'x'; 1 << 20]).ok();
    assert_eq!(flood.read(&mut [0; 1]).unwrap_or(0), 0);
    terminate(server);
}

#[test]
fn a_command_has_the_disk_while_it_runs() {
    let run = |command: &str| {
        zs(&["serve", "--size", "1M", "--run", command])
            .output()
            .unwrap()
    };
    let output = run("test -S \"$unixsocket\" && echo \"$uri\" && exit 7");
    assert_eq!(output.status.code(), Some(7));
    let uri = String::from_utf8(output.stdout).unwrap();
    let socket = uri.trim_end().strip_prefix("nbd+unix:///?socket=").unwrap();
    assert!(
        !Path::new(socket).parent().unwrap().exists(),
        "the folder is left"
    );
    assert_eq!(run("kill -9 $$").status.code(), Some(1));
}

#[test]
fn wrong_arguments_are_named() {
    for (arguments, part) in [
        (&["--size", "0"][..], "holds nothing"),
        (&["--size", "8E"], "size"),
        (&["--size", "1M", "--tls", "a", "b", "c"], "--tcp"),
        (&["--size", "1M", "--tcp", "localhost"], "--tcp"),
        (&[], "--size"),
    ] {
        let output = zs(&["serve"]).args(arguments).output().unwrap();
        let text = failure(&output, 2);
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    let open = zs(&["serve", "--size", "1M", "--tcp", "0.0.0.0:0"]).output();
    let text = failure(&open.unwrap(), 1);
    assert!(text.contains("only with TLS"), "{text}");
    let text = failure(&zs(&["ctl", "stat"]).output().unwrap(), 2);
    assert!(text.contains("--socket"), "{text}");
    let text = failure(
        &zs(&["ctl", "--socket", "x", "explode"]).output().unwrap(),
        2,
    );
    assert!(text.contains("explode"), "{text}");
}
