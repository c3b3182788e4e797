//! `zs serve`: where it listens, what it is started with, and what is wrong with that.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::server::Server;
use common::*;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Output;

#[test]
fn a_server_is_asked_and_ended() {
    let numbers = folder();
    let pidfile = numbers.path().join("pid");
    let server = Server::start(&["--pidfile", pidfile.to_str().unwrap()]);
    let socket = server.socket();
    assert_eq!(
        server.uri,
        format!("nbd+unix:///?socket={}", socket.display())
    );
    let number = fs::read_to_string(&pidfile).unwrap();
    assert_eq!(number.trim(), server.number().to_string());
    for socket in [&socket, &socket.with_extension("ctl")] {
        let mode = fs::metadata(socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(number_of(&server), 16 << 20);
    let second = zs(&["serve", "--size", "1M", "--socket"])
        .arg(&socket)
        .output();
    let text = failure(&second.unwrap(), 1);
    assert!(text.contains("in use by another server"), "{text}");
    assert_eq!(number_of(&server), 16 << 20, "the first one goes on");
    server.terminate();
    assert!(!pidfile.exists());
    let output = zs(&["ctl", "--socket"]).arg(&socket).arg("stat").output();
    let text = failure(&output.unwrap(), 1);
    assert!(
        text.contains("disk.ctl") && text.contains("is a zs serve running"),
        "{text}"
    );
}

fn number_of(server: &Server) -> u64 {
    number(&server.stat(), "disksize")
}

#[test]
fn a_socket_that_was_left_is_replaced() {
    let folder = folder();
    let socket = folder.path().join("disk");
    drop(UnixListener::bind(&socket).unwrap());
    drop(UnixListener::bind(folder.path().join("disk.ctl")).unwrap());
    let command = format!("test -S {}.ctl", socket.display());
    let mut server = zs(&["serve", "--size", "1M", "--run", &command, "--socket"]);
    assert!(server.arg(&socket).status().unwrap().success());
    fs::write(&socket, "a file").unwrap();
    let text = failure(&server.output().unwrap(), 1);
    assert!(text.contains("no socket"), "{text}");
    assert_eq!(fs::read(&socket).unwrap(), b"a file");
}

#[test]
fn the_control_socket_takes_requests_only() {
    let server = Server::start(&[]);
    let path = server.folder.path().join("disk.ctl");
    let mut console = UnixStream::connect(&path).unwrap();
    console
        .write_all(b"hello\n{\"request\":{\"command\":\"stat\"}}\n")
        .unwrap();
    let mut lines = BufReader::new(&console).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("{\"error\":\"not understood"), "{first}");
    assert!(lines.next().unwrap().unwrap().starts_with("{\"ok\":"));
    // Longer than any line: the end, without an answer.
    let mut flood = UnixStream::connect(&path).unwrap();
    flood.write_all(&vec![b'x'; 1 << 20]).ok();
    assert_eq!(flood.read(&mut [0; 1]).unwrap_or(0), 0);
    server.terminate();
}

#[test]
fn no_files_without_a_folder_for_them() {
    let folder = folder();
    let script = "$ZS ctl --socket $unixsocket snapshot \"$FILE\"";
    let file = folder.path().join("file");
    let mut server = zs(&["serve", "--size", "1M", "--run", script]);
    let output = server.env("ZS", ZS).env("FILE", &file).output().unwrap();
    let text = failure(&output, 1);
    assert!(text.contains("without --allow-dir"), "{text}");
    assert!(!file.exists());
    let text = failure(
        &server.args(["--allow-dir", "/missing"]).output().unwrap(),
        1,
    );
    assert!(
        text.contains("--allow-dir /missing: No such file"),
        "{text}"
    );
}

#[test]
fn a_command_has_the_disk_while_it_runs() {
    let run = |command: &str| {
        zs(&["serve", "--size", "1M", "--run", command, "-U", "-"])
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
    assert_eq!(run("kill -9 $$").status.code(), Some(128 + 9));
}

fn serve(arguments: &[&str]) -> Output {
    let output = zs(&["serve", "--run", "true"]).args(arguments).output();
    output.unwrap()
}

#[test]
fn wrong_arguments_are_named() {
    for (arguments, part) in [
        (&["--size", "0"][..], "holds nothing"),
        (&["--size", "1"], "multiple of 512"),
        (
            &["--size", "9223372036854775808"],
            "the largest disk has 9223372036854775807 bytes",
        ),
        (&["--size", "8E"], "is no size"),
        (&["--size", "1M", "--tls", "a", "b", "c"], "--tcp"),
        (&["--size", "1M", "--tcp", "localhost:0"], "names of hosts"),
        (&["--size", "1M", "--tcp", "127.0.0.1"], "127.0.0.1:10809"),
        (
            &["--size", "1M", "-a", "lzo"],
            "expected lz4, lz4hc, lz4hc:LEVEL, zstd",
        ),
        (&["--size", "1M", "-a", "zstd:23"], "from 1 to 22"),
        (&["--size", "1M", "--block-size", "8k"], "4k, 16k, 64k"),
        (&["--size", "1M", "--export", "a=1M"], "--export"),
        (&["--export", "a"], "data=8G"),
        (
            &["--export", "a=1M", "--export", "a=2M"],
            "two exports have one name",
        ),
        (
            &[
                "--export",
                "a=1M",
                "--export",
                "b=2M",
                "--backing",
                "/dev/null",
            ],
            "one disk only",
        ),
        (&["--size", "1M", "--backing-size", "1M"], "--backing"),
        (&[], "--size"),
    ] {
        let text = failure(&serve(arguments), 2);
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    let text = failure(&zs(&["ctl", "stat"]).output().unwrap(), 2);
    assert!(
        text.contains("--socket") && text.contains("--control"),
        "{text}"
    );
    let text = failure(
        &zs(&["ctl", "--socket", "x", "explode"]).output().unwrap(),
        2,
    );
    assert!(text.contains("explode"), "{text}");
}

#[test]
fn what_cannot_be_is_said_with_what_can() {
    let folder = folder();
    let empty = write(&folder, "empty", b"");
    let small = write(&folder, "small", &[0; 100]);
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (empty, small) = (path(&empty), path(&small));
    for (arguments, part) in [
        (&["--size", "8T"][..], "--block-size 16k allows it"),
        (&["--size", "16T"], "--block-size 16k allows it"),
        (
            &["--size", "1M", "--limit", "1"],
            "2097152 to 1099511627776",
        ),
        (&["--size", "1M", "--raw-above", "5000"], "8 to 4096"),
        (&["--size", "2M", "--max-size", "1M"], "below the size"),
        (
            &[
                "--size",
                "1M",
                "--secondary",
                "lz4",
                "--secondary",
                "lz4",
                "--secondary",
                "lz4",
                "--secondary",
                "lz4",
            ],
            "--secondary: 4 of them, and a disk has at most 3",
        ),
        (
            &["--size", "1M", "--dictionary", &small],
            "no dictionary of zstd",
        ),
        (&["--size", "1M", "--dictionary", "missing"], "No such file"),
        (&["--size", "1M", "--backing", &empty], "is empty"),
        (&["--size", "1M", "--backing", &small], "one block needs"),
        (&["--size", "1M", "--backing", "missing"], "No such file"),
        (
            &["--size", "1M", "--backing", "/dev/null"],
            "neither a file nor a block device",
        ),
        (&["--size", "1M", "--tcp", "0.0.0.0:0"], "only with TLS"),
        (
            &["--size", "1M", "--pidfile", "/missing/pid"],
            "--pidfile /missing/pid",
        ),
        (
            &["--size", "1M", "--socket", "/missing/disk"],
            "/missing/disk",
        ),
    ] {
        // Of what the system refuses, or a file holds, the arguments are not to blame.
        let others = ["No such file", "no dictionary", "/missing/"];
        let code = match others.iter().any(|other| part.contains(other)) {
            true => 1,
            false => 2,
        };
        let text = failure(&serve(arguments), code);
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    let held = fs::File::open(&small).unwrap();
    assert!(zs_os::lock_file(&held).unwrap());
    fs::write(&small, vec![0; 1 << 20]).unwrap();
    let text = failure(&serve(&["--size", "1M", "--backing", &small]), 1);
    assert!(text.contains("somebody else uses the backing"), "{text}");
}
