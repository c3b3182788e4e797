//! What `zs ctl` asks of a running server with data in it, and what it says when that cannot be.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::nbd::Client;
use common::server::{Server, fill, holds, names};
use common::*;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn figures_follow_the_data() {
    let server = Server::start(&[]);
    let bytes = fill(&server, 256);
    let stat = server.stat();
    let of = |name| number(&stat, name);
    assert_eq!((of("disksize"), of("orig_data_size")), (16 << 20, 1 << 20));
    assert!(of("compr_data_size") < 1 << 20, "{stat}");
    assert!(of("mem_used_total") >= of("compr_data_size"), "{stat}");
    // Done in pieces of 128 KiB.
    assert_eq!(number(&stat["write"], "requests"), 8);
    assert_eq!(number(&stat["write"], "bytes"), 1 << 20);
    let text = server.told(&["stat"]);
    assert!(text.starts_with("NAME"), "{text}");
    assert!(text.contains("mm_stat      1048576 "), "{text}");
    assert!(
        text.contains("256 lz4, 0 as they are, 0 same-filled"),
        "{text}"
    );
    let mut client = server.client();
    holds(&mut client, &bytes);
    assert_eq!(number(&server.stat(), "clients"), 1);
    assert_eq!(client.trim(0, 1 << 20).unwrap(), 0);
    client.leave();
    assert!(number(&server.json(&["trim"]), "given_back_bytes") > 0);
    assert!(server.told(&["compact"]).contains("frames freed"));
    let stat = server.stat();
    assert_eq!(number(&stat, "orig_data_size"), 0);
    assert_eq!(number(&stat, "notify_free"), 1);
    server.terminate();
}

#[test]
fn blocks_are_recompressed() {
    let server = Server::start(&["--secondary", "zstd:9"]);
    let bytes = fill(&server, 512);
    let before = number(&server.stat(), "compr_data_size");
    assert_eq!(number(&server.json(&["idle"]), "idle_blocks"), 512);
    let done = server.json(&["recompress", "idle", "--threshold", "500", "--max", "100"]);
    assert_eq!(number(&done, "tried_blocks"), 100);
    let done = server.json(&["recompress", "--algorithm", "zstd:9"]);
    assert_eq!(number(&done, "tried_blocks"), 412, "{done}");
    let stat = server.stat();
    assert!(number(&stat, "compr_data_size") < before * 9 / 10, "{stat}");
    assert_eq!(
        number(&stat["algorithms"][1], "blocks"),
        number(&stat, "recompressed")
    );
    server.told(&["train", "words.dict", "--size", "8K"]);
    assert_eq!(names(&server.files()), ["words.dict"]);
    let added = server.json(&["secondary", "zstd:19", "--dictionary", "words.dict"]);
    assert_eq!(number(&added, "priority"), 2);
    let done = server.json(&["recompress", "--priority", "2"]);
    assert!(number(&done, "smaller_blocks") > 400, "{done}");
    holds(&mut server.client(), &bytes);
    for (verb, part) in [
        (
            &["recompress", "--algorithm", "lz4hc"][..],
            "which has zstd:9 (1), zstd:19 (2)",
        ),
        (&["recompress", "--priority", "3"], "which has zstd:9 (1)"),
        (
            &["recompress", "incompressible"],
            "all, idle, huge or huge_idle",
        ),
        (
            &["recompress", "--threshold", "4097"],
            "no block takes more than 4096",
        ),
        (&["secondary", "brotli"], "expected lz4, lz4hc"),
        (
            &["secondary", "lz4hc", "--dictionary", "words.dict"],
            "dictionar",
        ),
        (&["train", "x", "--size", "1"], "256 to 1048576"),
        (&["idle", "--age", "1"], "--track-access"),
    ] {
        let text = server.refusal(verb);
        assert!(text.contains(part), "{verb:?}: {text}");
    }
    server.told(&["secondary", "deflate"]);
    let text = server.refusal(&["secondary", "lz4hc"]);
    assert!(text.contains("there are three"), "{text}");
    server.terminate();
}

#[test]
fn blocks_are_marked_by_age() {
    let server = Server::start(&["--track-access"]);
    fill(&server, 10);
    assert_eq!(
        number(&server.json(&["idle", "--age", "0"]), "idle_blocks"),
        10
    );
    assert_eq!(
        number(&server.json(&["idle", "--age", "9999"]), "idle_blocks"),
        0
    );
    server.terminate();
}

#[test]
fn blocks_are_written_back() {
    let server = Server::start(&["--backing", "auto"]);
    let bytes = fill(&server, 100);
    assert_eq!(
        server.json(&["writeback-limit"])["writeback_limit_bytes"],
        serde_json::Value::Null
    );
    server.told(&["writeback-limit", "4K"]);
    let done = server.json(&["writeback"]);
    assert_eq!(done["end"], "the writeback limit is reached");
    assert!(number(&done, "written_bytes") <= 4096);
    let first = number(&done, "written_blocks");
    server.told(&["writeback-limit", "none"]);
    let done = server.json(&[
        "writeback",
        "--range",
        "200K-400K",
        "--form",
        "raw",
        "--max",
        "20",
    ]);
    assert_eq!(number(&done, "written_blocks"), 20);
    let done = server.json(&["writeback", "all"]);
    assert_eq!(number(&done, "written_blocks"), 80 - first);
    let stat = server.stat();
    assert_eq!(
        (number(&stat, "bd_count"), number(&stat, "compr_data_size")),
        (100, 0)
    );
    let mut client = server.client();
    holds(&mut client, &bytes);
    client.leave();
    // And the block that every client reads when it comes.
    assert_eq!(number(&server.stat(), "bd_reads"), 101);
    server.told(&["reset"]);
    // With a new backing.
    fill(&server, 3);
    assert_eq!(number(&server.json(&["writeback"]), "written_blocks"), 3);
    let text = server.refusal(&["writeback", "--range", "15M-17M"]);
    assert!(text.contains("beyond the end"), "{text}");
    server.terminate();
    let server = Server::start(&[]);
    let text = server.refusal(&["writeback"]);
    assert!(text.contains("without --backing"), "{text}");
    server.terminate();
}

#[test]
fn files_stay_below_the_folder_and_whole() {
    let server = Server::start(&[]);
    let bytes = fill(&server, 10);
    let files = server.files();
    fs::write(files.join("rubbish"), "no snapshot at all").unwrap();
    symlink("/etc/passwd", files.join("link")).unwrap();
    symlink("/tmp", files.join("out")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        files.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    for (verb, part) in [
        (["load", "rubbish"], "not a snapshot"),
        (["load", "link"], "symbolic link"),
        (["load", "pipe"], "not a file"),
        (["load", "missing"], "No such file"),
        (["load", "../disk"], "leads out"),
        (["load", "/etc/passwd"], "leads out"),
        (["snapshot", "out/file"], "leads out"),
        (["snapshot", "missing/file"], "No such file"),
        (["snapshot", "/"], "leads out"),
    ] {
        let text = server.refusal(&verb);
        assert!(text.contains(part), "{verb:?}: {text}");
    }
    let whole = files.join("whole");
    server.told(&["snapshot", whole.to_str().unwrap()]);
    let mut cut = fs::read(&whole).unwrap();
    cut.truncate(cut.len() - 1);
    fs::write(files.join("cut"), &cut).unwrap();
    let text = server.refusal(&["load", "cut"]);
    assert!(
        text.contains("cut: not a snapshot: it ends too early"),
        "{text}"
    );
    holds(&mut server.client(), &bytes);
    assert_eq!(
        names(&files),
        ["cut", "link", "out", "pipe", "rubbish", "whole"]
    );
    server.terminate();
}

#[test]
fn disks_have_stores_of_their_own() {
    let server = Server::with_disks(&["--export", "a=1M", "--export", "b \"c=2M", "-a", "zstd"]);
    assert!(server.uri.contains("///a?socket="), "{}", server.uri);
    let mut client = Client::connect(&server.socket(), "b \"c").unwrap();
    assert_eq!(client.size, 2 << 20);
    assert_eq!(client.write(8192, b"only here").unwrap(), 0);
    let mut other = Client::connect(&server.socket(), "").unwrap();
    assert_eq!(other.size, 1 << 20, "the first one is the default");
    assert_eq!(other.read(8192, 9).unwrap().unwrap(), [0; 9]);
    let stats = server.json(&["stat"]);
    assert_eq!(number(&stats[0], "orig_data_size"), 0);
    assert_eq!(number(&stats[1], "orig_data_size"), 4096);
    let text = server.refusal(&["trim"]);
    assert!(
        text.contains("several exports") && text.contains("\"a\""),
        "{text}"
    );
    let text = server.refusal(&["--export", "d", "trim"]);
    assert!(text.contains("no export \"d\""), "{text}");
    server.told(&["--export", "a", "trim"]);
    client.leave();
    other.leave();
    server.terminate();
}
