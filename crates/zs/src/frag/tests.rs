//! The report of a made-up outcome, sign by sign.
//!
//! The expected texts lie beside this file. `ZS_WRITE_EXPECTED=1` writes them anew: look at what
//! changed.

use super::outcome::{BlockState, Mark, Moment, Outcome, ReadTimes, Readers, Snapshot};
use crate::units::parse_share;
use std::path::Path;
use zs_mm::PageSize;

const FRAMES: u16 = 512;

/// Filled, churned, compacted: 5 s in steps of 50 ms.
fn moment(step: u32) -> Moment {
    let seconds = f64::from(step) * 0.05;
    let rss = match step {
        0..40 => u64::from(step) * 25,
        40..80 => 1000,
        _ => 1000 - u64::from(step - 80) * 40,
    };
    let payload = match step {
        0..40 => u64::from(step) * 24,
        40..80 => 960 - u64::from(step - 40) * 20,
        _ => 160,
    };
    Moment {
        seconds,
        payload_bytes: payload << 20,
        rss_bytes: rss << 20,
    }
}

/// Returns a gigabyte that was churned, and what is left of it.
fn outcome(blocks: usize) -> Outcome {
    let mixed = |block: usize| BlockState::of((block * 37 % 170) as u16 + 1, FRAMES);
    let mut before: Vec<_> = (0..blocks).map(mixed).collect();
    before[0] = BlockState::Full;
    before[blocks - 2] = BlockState::Offline;
    before[blocks - 1] = BlockState::Free;
    let full = blocks / 6;
    let compact = |block| match block {
        _ if block == blocks - 2 => BlockState::Offline,
        _ if block < full => BlockState::Full,
        _ if block == full => BlockState::Mixed(200),
        _ => BlockState::Free,
    };
    Outcome {
        page: PageSize::K4,
        pages: 700_000,
        free: parse_share("75%").unwrap(),
        rounds: 4,
        before: Snapshot {
            blocks: before,
            payload_bytes: 160 << 20,
            rss_bytes: 1000 << 20,
        },
        after: Snapshot {
            blocks: (0..blocks).map(compact).collect(),
            payload_bytes: 160 << 20,
            rss_bytes: 170 << 20,
        },
        history: (0..=100).map(moment).collect(),
        marks: vec![
            Mark {
                seconds: 2.0,
                what: "churn",
            },
            Mark {
                seconds: 4.0,
                what: "maintain",
            },
        ],
        blocks_possible: (blocks - full) as u64,
        frames_moved: 12_345,
        objects_moved: 67_890,
        seconds: 1.0,
        readers: Some(Readers {
            idle: ReadTimes {
                p50_ns: 310,
                p99_ns: 820,
            },
            busy: ReadTimes {
                p50_ns: 340,
                p99_ns: 1_900,
            },
        }),
    }
}

/// Panics unless `found` is what the file says.
fn check(found: &str, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/frag/expected")
        .join(file);
    if std::env::var_os("ZS_WRITE_EXPECTED").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == expected,
        "{file} is not what was expected; found:\n{found}"
    );
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn reports_are_drawn_as_expected() {
    let gigabyte = outcome(512);
    check(&plain(&gigabyte.text(80)), "80.txt");
    check(&gigabyte.text(80), "80-colours.txt");
    check(&plain(&gigabyte.text(34)), "34.txt");
    check(&gigabyte.svg(), "picture.svg");
    check(&gigabyte.json().unwrap(), "object.json");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for blocks in [2, 64, 65, 512, 5000, 1 << 19] {
        let outcome = outcome(blocks);
        for width in [34, 40, 79, 80, 81, 200, 1000] {
            let text = plain(&outcome.text(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{blocks} blocks at {width}:\n{text}");
            let rows = text.lines().count();
            assert!(rows < 80, "{blocks} blocks at {width}: {rows} rows");
        }
        // A terminal may be too narrow for words; nothing panics.
        for width in 0..34 {
            assert!(!outcome.text(width).is_empty());
        }
    }
}

#[test]
fn an_outcome_without_anything_is_a_report() {
    let nothing = || Snapshot {
        blocks: Vec::new(),
        payload_bytes: 0,
        rss_bytes: 0,
    };
    let outcome = Outcome {
        before: nothing(),
        after: nothing(),
        history: Vec::new(),
        marks: Vec::new(),
        readers: None,
        ..outcome(2)
    };
    assert!(plain(&outcome.text(80)).contains("0 of the 2 pageblocks"));
    assert!(outcome.svg().ends_with("</svg>\n"));
    assert!(outcome.json().unwrap().contains("\"read_p99_ns\":null"));
    let one = Outcome {
        history: vec![Moment {
            seconds: 0.0,
            payload_bytes: 0,
            rss_bytes: 0,
        }],
        ..outcome
    };
    assert!(!one.text(80).contains("NaN") && !one.svg().contains("NaN"));
}

#[test]
fn a_large_picture_stays_small() {
    let text = outcome(1 << 19).svg();
    assert!(text.len() < 100 << 10, "{} bytes", text.len());
}
