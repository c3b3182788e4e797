//! What of a running server can be set, and what of that a reset, a snapshot and a load keep.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::server::{Server, fill, holds};
use common::*;
use std::fs;
use std::path::Path;

#[test]
fn sizes_and_limits_change() {
    let server = Server::start(&["--max-size", "64M", "--limit", "8M"]);
    let bytes = fill(&server, 100);
    server.told(&["resize", "32M"]);
    assert_eq!(server.client().size, 32 << 20);
    for (size, part) in [("16M", "only grows"), ("65M", "67108864"), ("32M", "")] {
        let output = server.ctl(&["resize", size]);
        assert_eq!(output.status.success(), part.is_empty());
        assert!(stderr(&output).contains(part), "{output:?}");
    }
    server.told(&["limit", "4M"]);
    assert_eq!(number(&server.stat(), "mem_limit"), 4 << 20);
    let text = server.refusal(&["limit", "1"]);
    assert!(
        text.contains("below one pageblock (2097152 bytes)"),
        "{text}"
    );
    // A full store is a full disk, and keeps what it has.
    let mut client = server.client();
    let mut numbers = Numbers::new(1);
    let mut error = 0;
    for at in (8 << 20..16 << 20).step_by(4096) {
        error = client
            .write(at, &page(Kind::Random, &mut numbers, 4096))
            .unwrap();
        if error != 0 {
            break;
        }
    }
    assert_eq!(error, 28, "no ENOSPC");
    holds(&mut client, &bytes);
    client.leave();
    let text = server.refusal(&["limit", "2M"]);
    assert!(text.contains("bytes that are in use"), "{text}");
    assert_eq!(number(&server.stat(), "failed_writes"), 1);
    server.terminate();
}

#[test]
fn a_disk_with_clients_is_not_reset() {
    let server = Server::start(&[]);
    let bytes = fill(&server, 10);
    let mut client = server.client();
    server.told(&["snapshot", "disk.snap"]);
    for verb in [&["reset"][..], &["load", "disk.snap"]] {
        let text = server.refusal(verb);
        assert!(text.contains("1 client is connected"), "{text}");
    }
    holds(&mut client, &bytes);
    client.leave();
    server.told(&["reset"]);
    let stat = server.stat();
    assert_eq!(number(&stat, "orig_data_size"), 0);
    assert_eq!(number(&stat["write"], "requests"), 0);
    holds(&mut server.client(), &[0; 40960]);
    server.terminate();
}

#[test]
fn a_snapshot_is_another_servers_disk() {
    let server = Server::start(&["--secondary", "zstd", "--backing", "auto"]);
    let bytes = fill(&server, 300);
    server.told(&["recompress", "--max", "50"]);
    server.told(&["writeback", "--max", "20"]);
    let made = number(&server.json(&["snapshot", "disk.snap"]), "snapshot_bytes");
    let file = server.files().join("disk.snap");
    assert_eq!(fs::metadata(&file).unwrap().len(), made);
    let other = Server::with_disks(&["--size", "1M", "--backing", "auto"]);
    fs::copy(&file, other.files().join("copy")).unwrap();
    other.told(&["load", "copy"]);
    let mut client = other.client();
    assert_eq!(client.size, 16 << 20);
    holds(&mut client, &bytes);
    client.leave();
    assert_eq!(other.stat()["algorithms"][1]["name"], "zstd:1");
    assert_eq!(number(&other.json(&["writeback"]), "written_blocks"), 300);
    other.terminate();
    server.terminate();
}

/// What the backing took is in a snapshot, too, which goes back below the same limit; and the
/// backing is there after it.
#[test]
fn more_than_the_limit_is_loaded_again() {
    let server = Server::start(&["--limit", "4M", "--backing", "auto"]);
    let mut numbers = Numbers::new(1);
    let bytes = page(Kind::Random, &mut numbers, 8 << 20);
    let mut client = server.client();
    for (at, part) in (0..).step_by(1 << 20).zip(bytes.chunks(1 << 20)) {
        assert_eq!(client.write(at, part).unwrap(), 0);
        server.told(&["writeback"]);
    }
    client.leave();
    server.told(&["writeback-limit", "32M"]);
    server.told(&["snapshot", "disk.snap"]);
    server.told(&["load", "disk.snap"]);
    let mut client = server.client();
    holds(&mut client, &bytes);
    client.leave();
    let stat = server.stat();
    assert_eq!(number(&stat, "mem_limit"), 4 << 20);
    assert_eq!(number(&stat, "backing_size"), 16 << 20);
    assert_eq!(number(&stat, "writeback_limit"), 32 << 20);
    let snapshot = server.files().join("disk.snap");
    refused_with_a_file(&snapshot, &bytes);
    server.terminate();
}

/// A file is not free for a load before the old contents are gone; those stay.
fn refused_with_a_file(snapshot: &Path, bytes: &[u8]) {
    let folder = folder();
    let file = folder.path().join("backing");
    fs::File::create(&file).unwrap().set_len(32 << 20).unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start(&["--limit", "4M", "--backing", file]);
    let old = fill(&server, 10);
    fs::copy(snapshot, server.files().join("disk.snap")).unwrap();
    let text = server.refusal(&["load", "disk.snap"]);
    assert!(
        text.contains("limit of 4194304 bytes") && text.contains("--backing auto"),
        "{text}"
    );
    let mut client = server.client();
    holds(&mut client, &old);
    client.leave();
    server.told(&["limit", "16M"]);
    server.told(&["load", "disk.snap"]);
    let mut client = server.client();
    holds(&mut client, bytes);
    client.leave();
    // The file came with it.
    assert_eq!(number(&server.json(&["writeback"]), "written_blocks"), 2048);
    server.told(&["reset"]);
    assert_eq!(number(&server.stat(), "backing_size"), 32 << 20);
    server.terminate();
}

#[test]
fn no_more_of_a_backing_is_used_than_was_said() {
    let folder = folder();
    let file = folder.path().join("backing");
    fs::File::create(&file).unwrap().set_len(8 << 20).unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start(&["--backing", file, "--backing-size", "1M"]);
    assert_eq!(number(&server.stat(), "backing_size"), 1 << 20);
    server.told(&["writeback-limit", "4M"]);
    server.told(&["reset"]);
    let stat = server.stat();
    assert_eq!(number(&stat, "backing_size"), 1 << 20);
    assert_eq!(number(&stat, "writeback_limit"), 4 << 20);
    server.terminate();
}
