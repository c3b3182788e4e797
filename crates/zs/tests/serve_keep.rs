//! Contents that outlive their server, and what is told of those that do not.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::nbd::Client;
use common::server::{Server, fill, holds, names};
use common::*;
use rustix::process::Signal;
use std::fs;
use std::io::{BufRead, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A file in a folder of its own, which is beside the server's.
fn file() -> (TempDir, PathBuf, String) {
    let folder = folder();
    let path = folder.path().join("disk.snap");
    let name = text(&path);
    (folder, path, name)
}

/// The lines until one has these words.
fn until(errors: &mut impl BufRead, words: &str) -> String {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(
            errors.read_line(&mut line).unwrap() > 0,
            "never said: {words}"
        );
    }
    line
}

#[test]
fn a_disk_is_saved_at_the_end_and_loaded_at_the_start() {
    let (kept, path, name) = file();
    let server = Server::start(&["--save", &name, "-a", "zstd", "--block-size", "16k"]);
    let bytes = fill(&server, 300);
    assert!(!path.exists());
    server.terminate();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // With the size, the blocks and the algorithms of the file.
    let server = Server::with_disks(&["--load", &name, "--save", &name]);
    let stat = server.stat();
    assert_eq!(
        (number(&stat, "disksize"), number(&stat, "block_size")),
        (16 << 20, 16 << 10)
    );
    let mut client = server.client();
    holds(&mut client, &bytes);
    assert_eq!(client.write(0, b"newer").unwrap(), 0);
    client.leave();
    server.terminate();
    let server = Server::with_disks(&["--load", &name, "--size", "32M"]);
    let mut client = server.client();
    assert_eq!(client.size, 32 << 20);
    assert_eq!(client.read(0, 5).unwrap().unwrap(), b"newer");
    client.leave();
    server.terminate();
    assert_eq!(names(kept.path()), ["disk.snap"]);
    for (more, part) in [
        (
            &["--block-size", "4k"][..],
            "has blocks of 16 KiB: leave --block-size out",
        ),
        (&["--algorithm", "lz4"], "has zstd"),
    ] {
        let output = zs(&[&["serve", "--load", &name], more].concat())
            .output()
            .unwrap();
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains(part), "{said}");
    }
}

/// A service that was resized, and then filled beyond the limit that its --size would have, starts
/// again with the line that it began with.
#[test]
fn a_resized_service_starts_again_with_its_line() {
    let (_kept, _, name) = file();
    let line = ["--size", "1M", "--load", &name, "--save", &name];
    let server = Server::with_disks(&line);
    for verb in [["resize", "16M"], ["limit", "20M"]] {
        server.told(&verb);
    }
    let mut numbers = Numbers::new(5);
    let bytes: Vec<u8> = (0..1 << 20)
        .flat_map(|_| numbers.next().to_ne_bytes())
        .collect();
    let mut client = server.client();
    assert_eq!(client.write(4 << 20, &bytes).unwrap(), 0);
    client.leave();
    server.terminate();
    let server = Server::with_disks(&line);
    let mut client = server.client();
    assert_eq!(client.size, 16 << 20);
    let read = client.read(4 << 20, 8 << 20).unwrap().unwrap();
    assert!(read == bytes, "8 MiB that were written before");
    client.leave();
    server.terminate();
}

#[test]
fn each_of_several_disks_has_its_file() {
    let (_kept, path, name) = file();
    let (a, b) = (format!("a={name}"), format!("b={name}2"));
    let server = Server::with_disks(&[
        "--export", "a=1M", "--export", "b=2M", "--save", &a, "--save", &b,
    ]);
    let mut client = Client::connect(&server.socket(), "b").unwrap();
    assert_eq!(client.write(4096, b"of b").unwrap(), 0);
    client.leave();
    server.terminate();
    assert!(path.exists());
    let b_as_a = format!("a={name}2");
    let server = Server::with_disks(&["--export", "a=2M", "--load", &b_as_a]);
    let mut client = Client::connect(&server.socket(), "a").unwrap();
    assert_eq!(client.read(4096, 4).unwrap().unwrap(), b"of b");
    client.leave();
    server.terminate();
    let twice = [
        "serve", "--export", "a=1M", "--export", "b=1M", "--save", "a=/tmp/x", "--save", "b=/tmp/x",
    ];
    assert!(failure(&zs(&twice).output().unwrap(), 2).contains("two disks cannot have one file"));
}

#[test]
fn a_disk_is_saved_when_its_command_ends() {
    let (_kept, _path, name) = file();
    let script = "printf '%s' \"$uri\" | grep -q nbd; exit 7";
    let output = zs(&["serve", "--size", "1M", "--save", &name, "--run", script]).output();
    assert_eq!(output.unwrap().status.code(), Some(7));
    let server = Server::with_disks(&["--load", &name]);
    assert_eq!(server.client().size, 1 << 20);
    server.terminate();
}

#[test]
fn a_file_that_is_there_is_not_lost() {
    let (kept, path, name) = file();
    fs::write(&path, "precious").unwrap();
    let serve = |more: &[&str]| {
        zs(&[&["serve", "--size", "1M"], more].concat())
            .output()
            .unwrap()
    };
    let said = stderr(&serve(&["--save", &name])).to_owned();
    assert!(said.contains("the file exists: add --load"), "{said}");
    let said = stderr(&serve(&["--save", &name, "--load", &name])).to_owned();
    assert!(said.contains("not a snapshot"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let link = text(&kept.path().join("link"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for wrong in [link.as_str(), "/dev/null", "/"] {
        let said = stderr(&serve(&["--save", wrong])).to_owned();
        assert!(said.contains("something else than a file"), "{said}");
    }
    let said = stderr(&serve(&["--save", "/missing/x"])).to_owned();
    assert!(said.contains("--save /missing/x: No such file"), "{said}");
    let said = stderr(&serve(&["--load", "/missing/x"])).to_owned();
    assert!(said.contains("--load /missing/x: No such file"), "{said}");
    // The first time of a service that always has the same words.
    let first = text(&kept.path().join("first"));
    let server = Server::with_disks(&["--size", "1M", "--load", &first, "--save", &first]);
    server.terminate();
    assert!(Path::new(&first).exists());
}

/// The folder is gone when the end comes: the contents are not lost, and saved as soon as they can
/// be.
#[test]
fn what_cannot_be_saved_is_tried_again() {
    let (kept, path, name) = file();
    let arguments = ["--size", "16M", "--save", &name];
    let mut server = Server::heard(folder(), &arguments, Stdio::piped());
    let mut errors = server.errors();
    let bytes = fill(&server, 100);
    drop(kept);
    server.signal(Signal::TERM);
    let line = until(&mut errors, "gives them up");
    let process = server.number();
    for part in [&name, "No such file", &format!("kill {process}")] {
        assert!(line.contains(part), "{line}");
    }
    fs::create_dir(path.parent().unwrap()).unwrap();
    server.signal(Signal::TERM);
    let (status, _folder) = server.wait();
    assert!(status.success(), "{status}");
    let server = Server::with_disks(&["--load", &name]);
    holds(&mut server.client(), &bytes);
    server.terminate();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

/// Everything that a server says.
fn said_by(arguments: &[&str], does: impl FnOnce(&Server)) -> String {
    let mut server = Server::heard(folder(), arguments, Stdio::piped());
    let mut errors = server.errors();
    does(&server);
    server.terminate();
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn an_end_that_loses_contents_is_told() {
    let size = ["--size", "16M"];
    let lost = "the disk ends with 1 MiB of contents, which are lost; --save FILE would keep them";
    let said = said_by(&size, |server| drop(fill(server, 256)));
    assert!(said.contains(lost), "{said}");
    let said = said_by(&size, |_| ());
    assert!(!said.contains("lost"), "{said}");
    let said = said_by(&size, |server| {
        fill(server, 256);
        server.told(&["snapshot", "all"]);
    });
    assert!(!said.contains("lost"), "{said}");
    let said = said_by(&size, |server| {
        server.told(&["snapshot", "nothing"]);
        fill(server, 256);
        server.told(&["snapshot", "all"]);
        server.told(&["load", "nothing"]);
        fill(server, 256);
    });
    assert!(said.contains(lost), "{said}");
}

#[test]
fn limits_and_a_full_disk_are_told_once() {
    let random = |server: &Server, seed: u64| {
        let mut client = server.client();
        let bytes = page(Kind::Random, &mut Numbers::new(seed), 1 << 20);
        let errors: Vec<u32> = (0..8)
            .map(|at| client.write(at << 20, &bytes).unwrap())
            .collect();
        client.leave();
        errors
    };
    let said = said_by(&["--size", "16M", "--limit", "4M"], |server| {
        for seed in 0..3 {
            assert!(random(server, seed).contains(&28), "it is never full");
        }
        let mut client = server.client();
        assert_eq!(client.trim(0, 16 << 20).unwrap(), 0);
        client.leave();
        server.told(&["trim"]);
        // A write finds that there is room again.
        fill(server, 1);
        fill(server, 1);
    });
    let times = |part: &str| said.matches(part).count();
    assert_eq!(times("the limit is 4 MiB: --limit"), 1, "{said}");
    assert_eq!(times("the disk is full:"), 1, "{said}");
    assert_eq!(times("the disk is no longer full"), 1, "{said}");
}

/// As `nohup` and shells start it.
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' HUP INT; exec \"$@\"",
        "sh",
        ZS,
        "serve",
        "--size",
        "1M",
    ]);
    let server = Server::of(command, folder());
    let status = fs::read_to_string(format!("/proc/{}/status", server.number())).unwrap();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    // HUP is 1, INT is 2, TERM is 15.
    assert_eq!(mask("SigIgn:") & 0b11, 0b11, "{status}");
    assert_eq!(mask("SigCgt:") & (0b11 | 1 << 14), 1 << 14, "{status}");
    server.signal(Signal::HUP);
    server.signal(Signal::INT);
    assert_eq!(server.client().size, 1 << 20);
    server.terminate();
}

/// A terminal that closes ends a server that has nothing, and no other.
#[test]
fn a_closed_terminal_loses_nothing() {
    let server = Server::start(&[]);
    server.signal(Signal::HUP);
    let (status, folder) = server.wait();
    assert!(status.success(), "{status}");
    assert_eq!(names(folder.path()), ["files"]);
    let mut server = Server::heard(common::folder(), &["--size", "16M"], Stdio::piped());
    let mut errors = server.errors();
    let bytes = fill(&server, 10);
    server.signal(Signal::HUP);
    until(&mut errors, "SIGHUP: the server goes on");
    holds(&mut server.client(), &bytes);
    server.terminate();
}

/// `timeout` sends its signal to the process, and to the group.
#[test]
fn two_signals_at_once_are_one() {
    for _ in 0..10 {
        let server = Server::start(&[]);
        server.signal(Signal::TERM);
        server.signal(Signal::INT);
        server.terminate();
    }
}

/// A timer, or a signal that was meant for somebody else, is an orderly end.
#[test]
fn other_signals_are_an_orderly_end() {
    for signal in [Signal::USR1, Signal::QUIT, Signal::ALARM, Signal::XCPU] {
        if zs_os::is_ignored(signal.as_raw()) {
            // As a shell starts what is in the background: then it stays so.
            println!("skipped: {signal:?} is ignored here");
            continue;
        }
        let (_kept, path, name) = file();
        let server = Server::start(&["--save", &name]);
        server.signal(signal);
        let (status, folder) = server.wait();
        assert!(status.success(), "{signal:?}: {status}");
        assert_eq!(names(folder.path()), ["files"]);
        assert!(path.exists());
    }
}

/// A limit of file sizes is an error of who writes the file, and not the end of the server.
#[test]
fn a_limit_of_file_sizes_does_not_end_the_server() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -f 64; exec \"$@\"",
        "sh",
        ZS,
        "serve",
        "--size",
        "16M",
    ]);
    let server = Server::of(command, folder());
    let mut client = server.client();
    let bytes = page(Kind::Random, &mut Numbers::new(1), 1 << 20);
    assert_eq!(client.write(0, &bytes).unwrap(), 0);
    let text = server.refusal(&["snapshot", "large"]);
    assert!(text.contains("File too large"), "{text}");
    holds(&mut client, &bytes);
    client.leave();
    server.terminate();
}

const NO_NAMESPACE: &str =
    "skipped: no namespace of processes can be made; run the tests as root, with unshare";

/// A command in a namespace of processes, whose first one it is; `None` if there is none to be had.
fn as_first_process(arguments: &[&str]) -> Option<Output> {
    let left = folder();
    let apart = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(arguments).stdin(Stdio::null());
        // Ended at once, it leaves its sockets.
        command.env("TMPDIR", left.path());
        command.output()
    };
    if !apart(&["true"]).is_ok_and(|output| output.status.success()) {
        return None;
    }
    Some(apart(arguments).unwrap())
}

/// The first process of a container gets the children that others leave.
#[test]
fn the_first_process_reaps_orphans() {
    // They are zombies until it waits for them.
    let script = "\
for i in 1 2 3; do (sh -c 'echo left' &); done
while grep -q '^State:.*Z' /proc/[0-9]*/status 2>/dev/null; do :; done
echo clean; exit 5";
    let arguments = [ZS, "serve", "--size", "1M", "--run", script];
    let Some(output) = as_first_process(&arguments) else {
        println!("{NO_NAMESPACE}");
        return;
    };
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(stdout(&output).contains("clean"), "{output:?}");
}

/// A signal that nobody catches does nothing to the first process, so that it ends itself by the
/// second one.
#[test]
fn a_second_signal_ends_the_first_process() {
    let script = "trap : TERM; while :; do kill -TERM 1; done";
    let arguments = [ZS, "serve", "--size", "1M", "--run", script];
    let Some(output) = as_first_process(&arguments) else {
        println!("{NO_NAMESPACE}");
        return;
    };
    assert_eq!(output.status.code(), Some(128 + 15), "{output:?}");
}

/// A limit of address space: the message names it and the options that help, and with these it
/// works.
#[test]
fn too_little_address_space_is_named() {
    let serve = |arguments: &str| {
        let script =
            format!("ulimit -v 1500000; exec {ZS} serve --size 64M {arguments} --run true");
        Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    let said = failure(&serve(""), 1);
    for part in [
        "RLIMIT_AS allows 1.43 GiB",
        "--max-size",
        "--limit",
        "ulimit -v",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let output = serve("--max-size 64M --limit 64M");
    assert!(output.status.success(), "{output:?}");
}

/// Many disks share the address space, and half of the memory.
#[test]
fn there_may_be_many_disks() {
    let exports: Vec<String> = (0..300)
        .map(|index| format!("--export=e{index}=200G"))
        .collect();
    let mut arguments: Vec<&str> = exports.iter().map(String::as_str).collect();
    arguments.extend(["--run", "test -S $unixsocket"]);
    let output = zs(&[&["serve"], &arguments[..]].concat()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains("the limit of each of 300 disks is"), "{said}");
    assert!(said.contains("an even share of half of the"), "{said}");
}
