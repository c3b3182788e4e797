//! How `zs serve` ends: nothing half done, nothing left.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::server::{Server, names};
use common::*;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Clients write when the signal comes: each request is answered, or its connection has ended.
#[test]
fn a_signal_comes_in_the_middle_of_writes() {
    const CLIENTS: u64 = 4;
    let server = Server::start(&["--backing", "auto"]);
    let (answered, cut) = (AtomicU64::new(0), AtomicU64::new(0));
    let started = Barrier::new(CLIENTS as usize + 1);
    std::thread::scope(|scope| {
        for index in 0..CLIENTS {
            let mut client = server.client();
            let (started, answered, cut) = (&started, &answered, &cut);
            scope.spawn(move || {
                let mut numbers = Numbers::new(index);
                started.wait();
                loop {
                    let bytes = page(Kind::Records, &mut numbers, 64 << 10);
                    let at = ((index * 4) << 20) + numbers.below(60) * (64 << 10);
                    match client.write(at, &bytes) {
                        Ok(0) => answered.fetch_add(1, Ordering::SeqCst),
                        Ok(error) => panic!("a write was answered by {error}"),
                        Err(error) => {
                            let kinds = [
                                ErrorKind::UnexpectedEof,
                                ErrorKind::BrokenPipe,
                                ErrorKind::ConnectionReset,
                            ];
                            assert!(kinds.contains(&error.kind()), "{error}");
                            cut.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    };
                }
            });
        }
        started.wait();
        while answered.load(Ordering::SeqCst) < 20 {
            std::thread::yield_now();
        }
        server.signal(Signal::TERM);
    });
    assert_eq!(cut.load(Ordering::SeqCst), CLIENTS);
    let (status, folder) = server.wait();
    assert!(status.success(), "{status}");
    assert_eq!(names(folder.path()), ["files"]);
}

/// The command takes no notice of the first signal, so the server would wait for it: the second one
/// ends it.
#[test]
fn a_second_signal_ends_at_once() {
    // Ended so, it leaves its sockets.
    let left = folder();
    let mut server = Command::new(ZS)
        .env("TMPDIR", left.path())
        .args(["serve", "--size", "1M", "--run"])
        .arg("trap 'echo caught' TERM; echo ready; while test -d \"$TMPDIR\"; do :; done")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    let mut says = |expected: &str| {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    };
    says("ready\n");
    let begun = Instant::now();
    let pid = Pid::from_child(&server);
    kill_process(pid, Signal::TERM).unwrap();
    says("caught\n");
    // Within a second of the first it is the same one.
    while server.try_wait().unwrap().is_none() {
        kill_process(pid, Signal::TERM).unwrap();
        std::thread::yield_now();
    }
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.wait().unwrap().signal(), Some(15));
    // The command goes on until its folder is gone.
    drop(left);
}

/// Somebody removed the sockets of a server, and another one has their names: the first ends, and
/// leaves the other alone.
#[test]
fn a_server_whose_path_is_anothers_ends() {
    let first = Server::start(&[]);
    let socket = first.socket();
    fs::remove_file(&socket).unwrap();
    fs::remove_file(first.folder.path().join("disk.ctl")).unwrap();
    let mut second = Command::new(ZS)
        .args(["serve", "--size", "1M", "--socket"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(second.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    first.signal(Signal::TERM);
    let (status, folder) = first.wait();
    assert!(status.success(), "{status}");
    let stat = zs(&["ctl", "--socket"]).arg(&socket).arg("stat").output();
    assert!(stat.unwrap().status.success());
    kill_process(Pid::from_child(&second), Signal::TERM).unwrap();
    assert!(second.wait().unwrap().success());
    assert_eq!(names(folder.path()), ["files"]);
}

/// Starts a server for a command, and waits until that has said `ready`.
fn run(command: &str) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut server = Command::new(ZS)
        .args(["serve", "--size", "1M", "--run", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (server, out)
}

#[test]
fn a_signal_reaches_the_command() {
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
    ] {
        if zs_os::is_ignored(signal.as_raw()) {
            // As a shell starts what is in the background: then it stays so.
            println!("skipped: {name} is ignored here");
            continue;
        }
        // It can still use the disk when the signal has come. It does not wait in one call: a
        // signal just before that would be looked at behind it.
        let script = format!(
            "trap 'test -S $unixsocket && echo caught; exit 3' {name}; echo ready; while :; do :; done"
        );
        let (mut server, mut out) = run(&script);
        kill_process(Pid::from_child(&server), signal).unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "caught\n");
        assert_eq!(server.wait().unwrap().code(), Some(3));
    }
    // Not only the shell: also what it waits for.
    let (mut server, _out) = run("echo ready; (read word); true");
    // Which waiting for the server would close.
    let _input = server.stdin.take();
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(128 + 15));
}

/// At a terminal they reach the command anyway: the server goes on for as long as that does.
#[test]
fn interrupts_at_a_terminal_are_the_commands() {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let mut options = File::options();
    let theirs = options.read(true).write(true);
    let theirs = theirs.open(name.to_str().unwrap()).unwrap();
    let script = "echo ready; while read word && test $word != end; do echo $word; done; exit 3";
    let mut server = Command::new(ZS)
        .args(["serve", "--size", "1M", "--run", script])
        .stdin(theirs)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ours = File::from(ours);
    let mut out = BufReader::new(server.stdout.take().unwrap());
    let mut answers = |expected: &str| {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    };
    answers("ready");
    for word in ["one", "two", "three"] {
        kill_process(Pid::from_child(&server), Signal::INT).unwrap();
        writeln!(ours, "{word}").unwrap();
        answers(word);
    }
    writeln!(ours, "end").unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(3));
}
