//! What `--save` keeps of a disk that became another one, by a reset, a resize or a load.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::server::{Server, fill, holds};
use common::*;
use rustix::process::Signal;
use std::io::BufRead as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A file that a disk of 16 MiB with some contents was saved to, in a folder of its own; and the
/// contents.
fn saved() -> (tempfile::TempDir, String, Vec<u8>) {
    let folder = folder();
    let name = folder.path().join("disk.snap").to_str().unwrap().to_owned();
    let server = Server::start(&["--save", &name]);
    let bytes = fill(&server, 10);
    server.terminate();
    (folder, name, bytes)
}

fn begun_with(name: &str) -> Server {
    Server::with_disks(&["--load", name, "--save", name])
}

#[test]
fn what_was_discarded_by_a_reset_does_not_come_back() {
    let (_folder, name, bytes) = saved();
    let server = begun_with(&name);
    server.told(&["reset"]);
    server.terminate();
    let server = begun_with(&name);
    assert_eq!(number(&server.stat(), "orig_data_size"), 0);
    // As many requests later as there were before.
    assert_eq!(fill(&server, 10), bytes);
    server.told(&["reset"]);
    fill(&server, 10);
    server.terminate();
    let server = begun_with(&name);
    holds(&mut server.client(), &bytes);
    server.terminate();
}

#[test]
fn another_size_is_saved() {
    let (_folder, name, bytes) = saved();
    let server = begun_with(&name);
    server.told(&["resize", "32M"]);
    server.terminate();
    let server = begun_with(&name);
    assert_eq!(number(&server.stat(), "disksize"), 32 << 20);
    server.terminate();
    let server = Server::with_disks(&["--load", &name, "--save", &name, "--size", "48M"]);
    server.terminate();
    let server = begun_with(&name);
    assert_eq!(number(&server.stat(), "disksize"), 48 << 20);
    holds(&mut server.client(), &bytes);
    server.terminate();
}

/// Of two servers that are to make the same file, the second waits with its contents until the
/// first one's is out of its way.
#[test]
fn another_servers_file_is_not_replaced() {
    let folder = folder();
    let path = folder.path().join("disk.snap");
    let name = path.to_str().unwrap();
    let one = Server::start(&["--save", name]);
    let mut other = Server::heard(
        common::folder(),
        &["--size", "16M", "--save", name],
        Stdio::piped(),
    );
    let ones = fill(&one, 10);
    let others = fill(&other, 20);
    one.terminate();
    let mut errors = other.errors();
    other.signal(Signal::TERM);
    let mut line = String::new();
    while !line.contains("somebody made or changed this file") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "never said");
    }
    let moved = folder.path().join("first.snap");
    std::fs::rename(&path, &moved).unwrap();
    other.signal(Signal::TERM);
    assert!(other.wait().0.success());
    for (path, bytes) in [(moved, ones), (path.clone(), others)] {
        let server = Server::with_disks(&["--load", path.to_str().unwrap()]);
        holds(&mut server.client(), &bytes);
        server.terminate();
    }
}

#[test]
fn a_disk_that_nobody_changed_is_not_written_again() {
    let (_folder, name, _) = saved();
    let written = || std::fs::metadata(&name).unwrap().modified().unwrap();
    let before = written();
    begun_with(&name).terminate();
    assert_eq!(written(), before);
}

/// Whichever of both was saved last would have been all that is left.
#[test]
fn one_file_by_two_paths_is_refused() {
    let (folder, name, _) = saved();
    let at = |path: &str| folder.path().join(path).to_str().unwrap().to_owned();
    std::fs::create_dir(at("sub")).unwrap();
    std::os::unix::fs::symlink(folder.path(), at("alias")).unwrap();
    std::fs::hard_link(&name, at("hard")).unwrap();
    let refused = |one: &str, other: &str, loads: bool| {
        let mut arguments = vec!["serve", "--export", "one=16M", "--export", "two=16M"];
        let files = [format!("one={one}"), format!("two={other}")];
        for file in &files {
            arguments.extend(["--save", file]);
            if loads {
                arguments.extend(["--load", file]);
            }
        }
        let mut server = zs(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        // Were it not refused, it would serve for ever.
        while server.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        let _ = server.kill();
        let output = server.wait_with_output().unwrap();
        let text = failure(&output, 2);
        let [one, other] = files;
        let expected = format!("--save {one} and {other}: two disks cannot have one file");
        assert!(text.contains(&expected), "{text}");
    };
    refused(&at("new"), &at("alias/new"), false);
    refused(&at("new"), &at("sub/../new"), false);
    refused(&name, &at("hard"), true);
    // Of other names in one folder nothing is said.
    let (one, two) = (format!("one={}", at("1")), format!("two={}", at("2")));
    let server = Server::with_disks(&[
        "--export", "one=1M", "--export", "two=1M", "--save", &one, "--save", &two,
    ]);
    server.terminate();
}
