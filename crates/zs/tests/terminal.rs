//! What the tool shows on a terminal.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::*;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::process::Command;

/// Runs a command on a terminal of `columns`; returns what it wrote there, and its exit code.
fn on_terminal(mut command: Command, columns: u16) -> (String, Option<i32>) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&ours, size).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let mut options = File::options();
    let theirs = options
        .read(true)
        .write(true)
        .open(Path::new(name.to_str().unwrap()))
        .unwrap();
    command
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE");
    let (out, err) = (theirs.try_clone().unwrap(), theirs.try_clone().unwrap());
    let mut child = command
        .stdin(theirs)
        .stdout(out)
        .stderr(err)
        .spawn()
        .unwrap();
    // The command holds the terminal's other side; it must be the only one.
    drop(command);
    let mut ours = File::from(ours);
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match ours.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => shown.extend_from_slice(&buffer[..got]),
            // What a terminal answers when its other side is closed.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => panic!("{error}"),
        }
    }
    let status = child.wait().unwrap();
    (String::from_utf8(shown).unwrap(), status.code())
}

/// The text without its escape sequences: `ESC [ ... letter`.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        plain.push_str(&part[end + 1..]);
    }
    plain
}

/// What is left on the screen of the report: its lines from the first on, without those of the bar,
/// which is drawn over.
fn report_lines(shown: &str) -> Vec<String> {
    let plain = plain(shown);
    let lines = plain.lines().map(|line| {
        let last = line.rsplit('\r').find(|part| !part.is_empty());
        last.unwrap_or_default().to_owned()
    });
    lines.collect()
}

fn command(pages: usize, arguments: &[&str]) -> (tempfile::TempDir, Command) {
    let folder = folder();
    let path = write(&folder, "mixture", &mixture(1, pages));
    let mut command = zs(&["estimate", "--file"]);
    command.arg(path).args(arguments);
    (folder, command)
}

#[test]
fn forty_columns_are_enough() {
    let (_folder, command) = command(256, &["--classes", "--free", "12.5%"]);
    let (shown, code) = on_terminal(command, 40);
    assert_eq!(code, Some(0), "{shown}");
    let lines = report_lines(&shown);
    let widest = lines.iter().map(|line| line.chars().count()).max();
    assert!(widest <= Some(40), "{lines:#?}");
    for part in [
        "256 pages of 4 KiB",
        "over payload",
        "given back",
        "objects",
        "after a random 12.5 % of the stored",
        "payload left",
        "lz4, a random 12.5 % freed:",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(part)),
            "{part}: {lines:#?}"
        );
    }
}

#[test]
fn other_widths_are_used_and_none_breaks_it() {
    for (columns, limit) in [(0, 80), (10, 40), (60, 60), (80, 80), (200, 200)] {
        let (_folder, command) = command(64, &["--classes"]);
        let (shown, code) = on_terminal(command, columns);
        assert_eq!(code, Some(0), "{shown}");
        let lines = report_lines(&shown);
        let widest = lines.iter().map(|line| line.chars().count()).max();
        // Words longer than the line stay whole: a file's name, above all.
        assert!(
            columns == 10 || widest <= Some(limit),
            "{columns}: {lines:#?}"
        );
    }
}

#[test]
fn colours_are_for_terminals_and_can_be_switched_off() {
    let (_folder, coloured) = command(64, &["--free", "50%"]);
    let (shown, _) = on_terminal(coloured, 80);
    for part in [
        "\x1b[1m\x1b[32mlz4 would hold it",
        "\x1b[1mafter a random 50 %",
        "\x1b[1m\x1b[32mlz4, a random 50 % freed",
    ] {
        assert!(shown.contains(part), "{part:?}: {shown:?}");
    }
    let (_folder, mut without) = command(64, &["--json"]);
    let output = without.output().unwrap();
    assert!(!stdout(&output).contains('\x1b'));
    let (_folder, inner) = command(64, &[]);
    let mut quoted: Vec<_> = inner.get_args().collect();
    quoted.insert(0, inner.get_program());
    let mut without = Command::new("env");
    without.arg("NO_COLOR=1").args(quoted);
    let (shown, _) = on_terminal(without, 80);
    assert!(plain(&shown).contains("lz4 would hold it"), "{shown:?}");
    assert!(
        !shown.contains("\x1b[1m") && !shown.contains("\x1b[32m"),
        "{shown:?}"
    );
}

#[test]
fn a_bar_shows_progress_and_goes_away() {
    let (_folder, command) = command(8192, &[]);
    let (shown, code) = on_terminal(command, 60);
    assert_eq!(code, Some(0));
    let bars: Vec<&str> = shown
        .split('\r')
        .filter(|part| part.contains(" lz4 ["))
        .collect();
    assert!(
        bars.len() > 1,
        "the bar is drawn again and again: {shown:?}"
    );
    assert!(
        bars.iter()
            .all(|bar| plain(bar).trim_end().chars().count() <= 60),
        "{bars:?}"
    );
    assert!(shown.contains("zstd ["), "{shown:?}");
    let report = &shown[shown.find("8192 pages").unwrap()..];
    assert!(
        !report.contains("zstd ["),
        "the bar is gone before the report: {report:?}"
    );
}
