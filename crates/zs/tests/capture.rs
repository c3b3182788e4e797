//! `zs capture`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::memory::{HELD, Holder, MEMORY, hold};
use common::users::{mount_small, unmount};
use common::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::process::Output;

fn capture(output: &Path, arguments: &[&str]) -> Output {
    zs(&["capture", "-o"])
        .arg(output)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn pages_of_a_process_are_written_for_their_owner_only() {
    let holder = Holder::start();
    let folder = folder();
    let path = folder.path().join("tail.pages");
    let pid = holder.pid.to_string();
    let output = capture(&path, &["--pid", &pid]);
    assert!(output.status.success(), "{}", stderr(&output));
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o600);
    assert_eq!(found.len() % 4096, 0);
    assert!(MEMORY.contains(&found.len()));
    let text = stdout(&output);
    for part in [
        "tail.pages",
        "mode 0600",
        "keys and passwords",
        "in 1 process (seed 1)",
    ] {
        assert!(text.replace('\n', " ").contains(part), "{part}: {text}");
    }
    // It is what estimate reads.
    let report = json(&path, &[]);
    assert_eq!(number(&report, "bytes"), found.len());
    let payload = number(&report["codecs"]["lz4"], "payload_bytes");
    assert!(
        payload > HELD * 97 / 100,
        "random bytes cannot be compressed: {payload}"
    );
}

#[test]
fn a_sample_of_a_command_and_whole_files_are_written() {
    let folder = folder();
    let path = folder.path().join("command.pages");
    let output = capture(&path, &["--sample", "1M", "--", "sh", "-c", &hold()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
    let copy = folder.path().join("file.pages");
    let bytes = vec![7; 5000];
    let file = write(&folder, "file", &bytes);
    let output = capture(&copy, &["--file", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let written = fs::read(&copy).unwrap();
    assert_eq!(written.len(), 8192);
    assert_eq!(
        (&written[..5000], &written[5000..]),
        (&bytes[..], &[0; 3192][..])
    );
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn nothing_that_is_there_is_written_to_or_followed() {
    let folder = folder();
    let own = std::process::id().to_string();
    let file = write(&folder, "file", b"precious");
    let link = folder.path().join("link");
    symlink(folder.path().join("target"), &link).unwrap();
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for path in [
        &file,
        &link,
        &pipe,
        Path::new("/dev/full"),
        Path::new("/dev/stdout"),
    ] {
        let text = failure(&capture(path, &["--pid", &own]), 1);
        assert!(
            text.contains("exists") && text.contains("a name that is free"),
            "{text}"
        );
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(!folder.path().join("target").exists());
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn what_cannot_be_written_leaves_no_file() {
    let folder = folder();
    let path = folder.path().join("none/x.pages");
    let text = failure(&capture(&path, &["--all"]), 1);
    assert!(
        text.contains("x.pages\" cannot be written: No such file"),
        "{text}"
    );
    // Nothing to read: the file that was made is gone again.
    let path = folder.path().join("x.pages");
    let text = failure(&capture(&path, &["--pid", "4194305"]), 1);
    assert!(text.contains("no page could be read"), "{text}");
    assert!(!path.exists());
    let text = failure(&zs(&["capture", "--all"]).output().unwrap(), 2);
    assert!(text.contains("--output <FILE>"), "{text}");
}

#[test]
fn a_file_that_was_made_meanwhile_is_not_touched() {
    let folder = folder();
    let path = folder.path().join("x.pages");
    let script = format!("{} >/dev/null; echo precious > {}", hold(), path.display());
    let output = capture(&path, &["--", "sh", "-c", &script]);
    assert!(failure(&output, 1).contains("exists"));
    assert_eq!(fs::read(&path).unwrap(), b"precious\n");
}

#[test]
fn an_interrupted_capture_leaves_no_file() {
    let folder = folder();
    let path = folder.path().join("x.pages");
    // The second signal that arrives ends the tool at once (two may arrive as one); nothing was
    // written until then. Once ended it still takes signals until this test has waited for it,
    // and that waits for the shell, so the signals are counted.
    let script = format!(
        "{} >/dev/null; i=0; while [ $i -lt 100000 ] && kill -INT $PPID 2>/dev/null; do i=$((i+1)); done",
        hold()
    );
    let output = capture(&path, &["--", "sh", "-c", &script]);
    assert!(!output.status.success());
    assert!(!path.exists());
}

#[test]
fn a_full_disk_is_said_and_leaves_no_file() {
    let folder = folder();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    if !mount_small(&disk, "1m") {
        println!("skipped: no small disk can be mounted; run the tests as root");
        return;
    }
    let path = disk.join("x.pages");
    let output = capture(&path, &["--sample", "4M", "--", "sh", "-c", &hold()]);
    let left = path.exists();
    unmount(&disk);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("x.pages\" cannot be written: No space left"),
        "{text}"
    );
    assert!(!left);
}
