//! What a run is like: how much room there is, and what must have happened by its end.

use crate::layout::FIRST_SIZE;
use crate::tally::{ALWAYS, AT_THE_LIMIT, WITH_ROOM};
use std::ops::Range;

/// Answers of the server that a run may have, and the settings that lead to them.
#[derive(Debug)]
pub(crate) struct Regime {
    arguments: &'static [&'static str],
    /// Limits between which the store's own goes up and down, in bytes.
    pub(crate) limits: Range<u64>,
    /// Whether the room below the limit runs out: writes may be refused then, and the backing be
    /// full.
    pub(crate) is_tight: bool,
    expected: [&'static [&'static str]; 2],
}

/// Limits above what the disk ever holds.
pub(crate) static ROOM: Regime = Regime {
    arguments: &[
        "--limit",
        "256M",
        "--backing",
        "auto",
        "--backing-size",
        "64M",
    ],
    limits: 128 << 20..256 << 20,
    is_tight: false,
    expected: [&ALWAYS, &WITH_ROOM],
};

/// Limits, a backing and a budget of writeback that are all too small for the disk.
pub(crate) static LIMIT: Regime = Regime {
    arguments: &["--limit", "3M", "--backing", "auto", "--backing-size", "1M"],
    limits: 2 << 20..3 << 20,
    is_tight: true,
    expected: [&ALWAYS, &AT_THE_LIMIT],
};

impl Regime {
    /// The arguments of `zs serve`.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let size = FIRST_SIZE.to_string();
        let common = ["--size", &size, "--block-size", "4k", "--algorithm", "lz4"];
        let more = ["--secondary", "zstd:3", "--track-access"];
        let all = common.iter().chain(&more).chain(self.arguments);
        all.map(ToString::to_string).collect()
    }

    /// What must have happened.
    pub(crate) fn expected(&self) -> impl Iterator<Item = &'static str> {
        self.expected.into_iter().flatten().copied()
    }
}
