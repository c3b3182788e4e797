//! What the tool answers to input that is wrong.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::*;
use rustix::process::geteuid;
use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn without_a_file_an_example_is_shown() {
    let text = failure(&zs(&["estimate"]).output().unwrap(), 2);
    assert!(text.contains("--file <FILE>"), "{text}");
    assert!(text.contains("zs estimate --file /proc/self/exe"), "{text}");
    let output = zs(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: zs <COMMAND>"));
}

#[test]
fn other_arguments_are_named() {
    for (arguments, part) in [
        (["--page-size", "8k"], "possible values: 4k, 16k, 64k"),
        (["--page-size", "4096"], "possible values: 4k, 16k, 64k"),
        (
            ["--limit", "0"],
            "a limit of 0 bytes is below one pageblock (2097152 bytes)",
        ),
        (
            ["--limit", "1M"],
            "a limit of 1048576 bytes is below one pageblock",
        ),
        (
            ["--limit", "2T"],
            "is above the largest arena (1099511627776 bytes)",
        ),
        (["--limit", "much"], "\"much\" is no size: expected bytes"),
        (["--limit", "-5"], "unexpected argument"),
        (["--speed", "9"], "unexpected argument '--speed'"),
    ] {
        let text = failure(&estimate(Path::new(ZS), &arguments), 2);
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    let text = failure(&zs(&["compress"]).output().unwrap(), 2);
    assert!(text.contains("'compress'"), "{text}");
}

#[test]
fn the_largest_limit_is_taken() {
    let folder = folder();
    let path = write(&folder, "a", &mixture(1, 10));
    let output = estimate(&path, &["--json", "--limit", "1T"]);
    assert_eq!(json_of(&output)["limit"], 1_u64 << 40);
}

#[test]
fn a_limit_beyond_the_address_space_is_explained() {
    let mut command = Command::new("sh");
    let script = "ulimit -v 4194304; exec \"$0\" estimate --file \"$0\" --limit 1T";
    command.args(["-c", script, ZS]);
    let text = failure(&command.output().unwrap(), 1);
    assert!(
        text.contains("no pool with a limit of 1 TiB can be made"),
        "{text}"
    );
    assert!(text.contains("try a lower --limit"), "{text}");
}

#[test]
fn an_empty_file_is_skipped_and_said() {
    let folder = folder();
    let empty = write(&folder, "empty", b"");
    let packed = write(
        &folder,
        "packed.zst",
        &zstd::encode_all(&b""[..], 1).unwrap(),
    );
    let page = write(&folder, "page", &mixture(1, 10));
    let others = [page.to_str().unwrap(), packed.to_str().unwrap()];
    let output = estimate(&empty, &others);
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.starts_with("10 pages of 4 KiB"), "{text}");
    for name in [&empty, &packed] {
        assert!(
            text.contains(&format!("{name:?} is empty: skipped")),
            "{text}"
        );
    }
    let report = json_of(&estimate(
        &empty,
        &[others.as_slice(), &["--json"]].concat(),
    ));
    let skipped = [0, 1, 2].map(|index| report["files"][index]["skipped"].as_bool());
    assert_eq!(skipped, [Some(true), Some(false), Some(true)]);

    let text = failure(&estimate(&empty, &[]), 1);
    assert!(text.contains("nothing to read"), "{text}");
    assert!(text.contains("empty\" is empty"), "{text}");
    let text = failure(&estimate(&empty, &[packed.to_str().unwrap()]), 1);
    assert!(text.contains("all 2 files are empty"), "{text}");
}

#[test]
fn a_last_page_that_is_short_is_padded_and_said() {
    let folder = folder();
    let bytes = mixture(1, 3);
    let path = write(&folder, "short", &bytes[..2 * 4096 + 1]);
    let output = estimate(&path, &[]);
    let text = stdout(&output);
    assert!(text.starts_with("3 pages of 4 KiB (8.00 KiB)"), "{text}");
    assert!(
        text.contains("short\": last page filled up with 4095 zero bytes"),
        "{text}"
    );
    let report = json_of(&estimate(&path, &["--json"]));
    assert_eq!(report["padded_bytes"], 4095);
    assert_eq!(report["files"][0]["padded_bytes"], 4095);
    assert_eq!(report["bytes"], 8193);
    assert_eq!(report["pages"], 3);

    let one = write(&folder, "one", b"1");
    let output = estimate(&one, &["--page-size", "64k"]);
    let text = stdout(&output);
    assert!(text.starts_with("1 page of 64 KiB (1 B)"), "{text}");
    assert!(text.contains("filled up with 65535 zero bytes"), "{text}");
}

#[test]
fn only_regular_files_are_read() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    for (path, part) in [
        (folder.path(), "is a directory: only regular files are read"),
        (&pipe, "is a pipe"),
        (Path::new("/dev/zero"), "is a character device"),
        (&folder.path().join("gone"), "No such file or directory"),
    ] {
        // A good file before it changes nothing.
        let output = estimate(Path::new(ZS), &[path.to_str().unwrap()]);
        let text = failure(&output, 1);
        assert!(text.contains(part), "{text}");
        assert!(text.contains(&format!("{path:?}")), "{text}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    // The program's own memory is a regular file, and its first page cannot be read.
    let text = failure(&estimate(Path::new("/proc/self/mem"), &[]), 1);
    assert!(text.contains("\"/proc/self/mem\": read failed"), "{text}");

    let folder = folder();
    let secret = write(&folder, "secret", b"secret");
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("zs");
    fs::copy(ZS, &program).unwrap();
    let mut command = Command::new(program);
    command.arg("estimate").arg("--file").arg(&secret);
    if geteuid().is_root() {
        // Root may read everything.
        command.uid(65534).gid(65534);
    }
    let text = failure(&command.output().unwrap(), 1);
    assert!(text.contains("secret\": Permission denied"), "{text}");
}

#[test]
fn damaged_packed_files_are_named_and_nothing_is_reported() {
    let folder = folder();
    let packed = zstd::encode_all(mixture(2, 100).as_slice(), 1).unwrap();
    let cases = [
        ("cut.zst", &packed[..packed.len() - 1]),
        ("none.zst", b"no zstd at all"),
        ("empty.zst", b""),
        ("longer.zst", &[packed.as_slice(), b"rest"].concat()),
    ];
    for (name, bytes) in cases {
        let path = write(&folder, name, bytes);
        for arguments in [["--json"].as_slice(), &[]] {
            let text = failure(&estimate(&path, arguments), 1);
            assert!(text.contains(name), "{text}");
            assert!(
                text.contains("is not a whole, undamaged zstd file"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_full_disk_is_named_with_the_way_round() {
    let folder = folder();
    let bytes = mixture(2, 100);
    let packed = write(
        &folder,
        "large.zst",
        &zstd::encode_all(bytes.as_slice(), 1).unwrap(),
    );
    // No file of this process may grow beyond a few KiB.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' XFSZ; ulimit -f 8; exec \"$0\" estimate --file \"$1\"",
    ]);
    command.arg(ZS).arg(&packed).env("TMPDIR", folder.path());
    let text = failure(&command.output().unwrap(), 1);
    let expected = format!("no room in {:?} for the pages of {packed:?}", folder.path());
    assert!(text.contains(&expected), "{text}");
    assert!(
        text.contains("set TMPDIR to a folder on a disk with more room"),
        "{text}"
    );

    let mut command = zs(&["estimate", "--file", ZS]);
    let text = failure(&command.env("TMPDIR", "/gone").output().unwrap(), 1);
    assert!(text.contains("\"/gone\": No such file"), "{text}");
    assert!(text.contains("set TMPDIR"), "{text}");
}

#[test]
fn a_closed_pipe_ends_the_tool_without_a_word() {
    for arguments in [
        ["estimate", "--file", ZS, "--json"].as_slice(),
        &["estimate", "--file", ZS, "--classes"],
        &["estimate", "--help"],
    ] {
        let mut command = zs(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(stderr(&output), "");
        assert_eq!(output.status.code(), Some(0));
    }
    for reader in ["head -1", "true"] {
        let script = format!("\"$0\" estimate --file \"$0\" --classes | {reader}");
        let output = Command::new("sh")
            .args(["-c", &script, ZS])
            .output()
            .unwrap();
        assert_eq!(stderr(&output), "", "{reader}");
        assert!(stdout(&output).lines().count() <= 1);
    }
}

#[test]
fn a_full_standard_output_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = zs(&["estimate", "--file", ZS, "--json"]);
    let output = command.stdout(full).output().unwrap();
    let text = failure(&output, 1);
    assert!(text.contains("standard output: No space left"), "{text}");
}

#[test]
fn the_hidden_command_takes_page_files_only() {
    let arguments = [
        "measure",
        "--codec",
        "lz4",
        "--page-size",
        "4k",
        "--limit",
        "4194304",
    ];
    let refused = |input: Stdio| {
        let mut command = zs(&arguments);
        let output = command.stdin(input).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let mut text = String::new();
        output.stdout.as_slice().read_to_string(&mut text).unwrap();
        text
    };
    let named = refused(File::open(ZS).unwrap().into());
    assert!(named.contains("not a page file: it has a name"), "{named}");
    let device = refused(Stdio::null());
    assert!(
        device.contains("not a page file: it is no regular file"),
        "{device}"
    );
}
