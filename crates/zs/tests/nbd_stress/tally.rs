//! How often each thing was done, and what it met.

use crate::layout::{BLOCK, blocks};
use crate::nbd::{CACHE, READ, STATUS, TRIM, WRITE, ZEROES};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What must have happened by the end of any run.
pub(crate) const ALWAYS: [&str; 54] = [
    "read",
    "read of a part",
    "read across all owners",
    "read of a common block",
    "write of whole blocks",
    "write of a part",
    "write across blocks",
    "write of a common block",
    "FUA",
    "trim of whole blocks",
    "trim of a part",
    "trim of a common block",
    "zeroes of whole blocks",
    "zeroes of a part",
    "zeroes that keep their place",
    "zeroes that must be fast",
    "flush",
    "cache",
    "block status",
    "block status: data",
    "block status: zeroes",
    "block status: hole",
    "reads unbroken",
    "requests in what the disk grew by",
    "connected again",
    "another's version read",
    "a version read that was being written",
    "beside compact",
    "beside trim",
    "beside idle",
    "beside recompress",
    "beside writeback",
    "beside resize",
    "beside limit",
    "beside stat",
    "beside metrics",
    "recompress and writeback at once",
    "refused beside another writeback",
    "replies in another order",
    "blocks overwritten while they were written back",
    "blocks read back from the backing",
    "blocks written back",
    "blocks recompressed",
    "frames that compaction freed",
    "trim below a sector",
    "trim of sectors",
    "trim of an odd part",
    "trim of several blocks",
    "trim of blocks and parts",
    "zeroes below a sector",
    "zeroes of sectors",
    "zeroes of an odd part",
    "zeroes of several blocks",
    "zeroes of blocks and parts",
];

/// What must have happened where there is room.
pub(crate) const WITH_ROOM: [&str; 2] = ["huge blocks written back", "idle blocks written back"];

/// What must have happened where there is none.
pub(crate) const AT_THE_LIMIT: [&str; 9] = [
    "write refused for want of room",
    "blocks that a refused write left as they were",
    "write taken after one that was refused",
    "backing full",
    "writeback limit reached",
    "writeback limit moved",
    "limit moved",
    "limit refused: more is in use",
    "frames that compaction freed",
];

#[derive(Default)]
pub(crate) struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    pub(crate) fn add(&self, what: &'static str, count: u64) {
        *self.0.lock().unwrap().entry(what).or_default() += count;
    }

    /// A line for each.
    pub(crate) fn report(&self) -> String {
        let counts = self.0.lock().unwrap();
        counts
            .iter()
            .map(|(what, count)| format!("{count:>12} {what}\n"))
            .collect()
    }

    /// Of what was expected, that which did not happen.
    pub(crate) fn missing(
        &self,
        expected: impl Iterator<Item = &'static str>,
    ) -> Vec<&'static str> {
        let counts = self.0.lock().unwrap();
        let never = |what: &&str| counts.get(what).is_none_or(|count| *count == 0);
        expected.filter(never).collect()
    }
}

/// The verbs that run beside requests, and what a request is counted as that meets one.
pub(crate) const VERBS: [(&str, &str); 10] = [
    ("compact", "beside compact"),
    ("trim", "beside trim"),
    ("idle", "beside idle"),
    ("recompress", "beside recompress"),
    ("writeback", "beside writeback"),
    ("resize", "beside resize"),
    ("limit", "beside limit"),
    ("writeback_limit", "beside writeback_limit"),
    ("stat", "beside stat"),
    ("metrics", "beside metrics"),
];

/// Verbs that have been sent and not been answered.
#[derive(Default)]
pub(crate) struct Underway([AtomicU64; VERBS.len()]);

impl Underway {
    /// `run`, known to be under way as that verb meanwhile.
    pub(crate) fn during<T>(&self, verb: &str, run: impl FnOnce() -> T) -> T {
        let index = VERBS.iter().position(|(name, _)| *name == verb).unwrap();
        // SeqCst, all of them: only counted by, so the simplest will do.
        self.0[index].fetch_add(1, Ordering::SeqCst);
        let result = run();
        self.0[index].fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Whether that verb runs now.
    pub(crate) fn is(&self, verb: &str) -> bool {
        let index = VERBS.iter().position(|(name, _)| *name == verb).unwrap();
        self.0[index].load(Ordering::SeqCst) > 0
    }

    /// What runs now.
    pub(crate) fn now(&self) -> [bool; VERBS.len()] {
        std::array::from_fn(|index| self.0[index].load(Ordering::SeqCst) > 0)
    }
}

/// What a discard, or a write of zeroes, is counted as for its size besides.
pub(crate) fn size(command: u16, range: &Range<u64>) -> Option<&'static str> {
    const SECTOR: u64 = 512;
    let len = range.end - range.start;
    let in_units = |unit: u64| range.start.is_multiple_of(unit) && len.is_multiple_of(unit);
    let index = match len {
        _ if len < SECTOR => 0,
        _ if len < BLOCK as u64 && in_units(SECTOR) => 1,
        _ if len < BLOCK as u64 => 2,
        _ if len == BLOCK as u64 && in_units(len) => return None,
        _ if in_units(BLOCK as u64) => 3,
        _ => 4,
    };
    let names = match command {
        TRIM => [
            "trim below a sector",
            "trim of sectors",
            "trim of an odd part",
            "trim of several blocks",
            "trim of blocks and parts",
        ],
        ZEROES => [
            "zeroes below a sector",
            "zeroes of sectors",
            "zeroes of an odd part",
            "zeroes of several blocks",
            "zeroes of blocks and parts",
        ],
        _ => return None,
    };
    Some(names[index])
}

/// What a request is counted as.
pub(crate) fn name(command: u16, range: &Range<u64>, common: bool) -> &'static str {
    let touched = blocks(range);
    let whole = range.start.is_multiple_of(BLOCK as u64) && range.end.is_multiple_of(BLOCK as u64);
    let several = touched.end - touched.start > 1;
    match (command, common, whole) {
        (READ, true, _) if several => "read across all owners",
        (READ, true, _) => "read of a common block",
        (READ, _, true) => "read",
        (READ, ..) => "read of a part",
        (WRITE, true, _) => "write of a common block",
        (WRITE, _, false) if several => "write across blocks",
        (WRITE, _, true) => "write of whole blocks",
        (WRITE, ..) => "write of a part",
        (TRIM, true, _) => "trim of a common block",
        (TRIM, _, true) => "trim of whole blocks",
        (TRIM, ..) => "trim of a part",
        (ZEROES, _, true) => "zeroes of whole blocks",
        (ZEROES, ..) => "zeroes of a part",
        (CACHE, ..) => "cache",
        (STATUS, ..) => "block status",
        _ => "flush",
    }
}
