//! What `--save` keeps of a disk that became another one, by a reset, a resize or a load.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::server::{Server, fill, holds};
use common::*;

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

#[test]
fn a_disk_that_nobody_changed_is_not_written_again() {
    let (_folder, name, _) = saved();
    let written = || std::fs::metadata(&name).unwrap().modified().unwrap();
    let before = written();
    begun_with(&name).terminate();
    assert_eq!(written(), before);
}
