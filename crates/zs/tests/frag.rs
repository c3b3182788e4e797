//! `zs frag` as a program: what it reports, and what it answers to input that is wrong.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::*;
use std::fs;
use std::path::Path;
use std::process::Output;

fn frag(path: &Path, arguments: &[&str]) -> Output {
    let mut command = zs(&["frag", "--file"]);
    command.arg(path).args(arguments).output().unwrap()
}

#[test]
fn what_could_be_free_is_free_afterwards() {
    let folder = folder();
    let path = write(&folder, "pages", &mixture(1, 4000));
    for size in ["4k", "16k", "64k"] {
        let output = frag(&path, &["--json", "--page-size", size]);
        assert!(output.status.success(), "{output:?}");
        let report = json_of(&output);
        let [free, possible] = ["blocks_free", "blocks_possible"].map(|of| number(&report, of));
        assert!(possible > 0 && free + 1 >= possible, "{report}");
        assert!(number(&report, "objects_moved") > 0, "{report}");
        assert!(number(&report, "payload_bytes") <= number(&report, "rss_bytes"));
    }
}

#[test]
fn the_text_fits_its_lines() {
    let folder = folder();
    let path = write(&folder, "pages", &mixture(2, 1));
    for free in ["0%", "100%"] {
        let output = frag(&path, &["--free", free, "--rounds", "1"]);
        let text = stdout(&output);
        assert!(text.starts_with("1 page of 4 KiB"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}

#[test]
fn a_picture_is_drawn_beside_the_text() {
    let folder = folder();
    let path = write(&folder, "pages", &mixture(3, 20));
    let svg = folder.path().join("frag.svg");
    let output = frag(&path, &["--svg", svg.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains("pageblocks"));
    assert!(fs::read_to_string(&svg).unwrap().ends_with("</svg>\n"));
}

#[test]
fn a_picture_that_cannot_be_written_is_said() {
    let folder = folder();
    let path = write(&folder, "pages", &mixture(3, 20));
    for (svg, part) in [
        ("/nowhere/a.svg", "No such file"),
        ("/tmp", "Is a directory"),
    ] {
        let text = failure(&frag(&path, &["--svg", svg]), 1);
        assert!(text.contains(&format!("{svg:?}: {part}")), "{text}");
    }
    // What was found out is not lost with it.
    let output = frag(&path, &["--svg", "/dev/full"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("\"/dev/full\": No space left"));
    assert!(stdout(&output).contains("pageblocks"));
}

#[test]
fn nothing_to_store_and_a_limit_that_is_reached_are_said() {
    let folder = folder();
    let zeros = write(&folder, "zeros", &[0; 64 << 10]);
    let text = failure(&frag(&zeros, &[]), 1);
    assert!(text.contains("every page is same-filled"), "{text}");

    let path = write(&folder, "pages", &mixture(4, 4000));
    let output = frag(&path, &["--limit", "2M"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stdout(&output).contains("pageblocks"));
}
