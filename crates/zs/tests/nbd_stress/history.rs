//! Blocks that all connections write: which versions may be there.
//!
//! A clock gives every beginning and end of a request its time. A version may be read unless
//! another write began after it had ended, and ended before the read began.
//!
//! # Locking
//! A mutex for each block, held for a look.

use crate::layout::COMMON;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A write: what it leaves, when it began and when it ended.
#[derive(Clone, Copy, Debug)]
struct Version {
    stamp: u64,
    begun: u64,
    ended: Option<u64>,
    /// Whether it was refused: it may have been left all the same, and others may have stayed.
    is_refused: bool,
}

#[derive(Debug)]
struct History {
    versions: Vec<Version>,
    /// When the reads began that have not ended.
    reads: Vec<u64>,
}

impl Default for History {
    /// Of a block that holds nothing.
    fn default() -> Self {
        let nothing = Version {
            stamp: 0,
            begun: 0,
            ended: Some(0),
            is_refused: false,
        };
        Self {
            versions: vec![nothing],
            reads: Vec::new(),
        }
    }
}

impl History {
    /// From when on nobody finds that version; `None` as long as somebody may.
    fn death(&self, version: &Version) -> Option<u64> {
        let ended = version.ended?;
        let versions = self.versions.iter();
        let later = versions.filter(|other| !other.is_refused && other.begun > ended);
        later.filter_map(|other| other.ended).min()
    }

    fn forget_the_dead(&mut self, now: u64) {
        let oldest = self.reads.iter().copied().min().unwrap_or(now);
        let alive = |version: &&Version| self.death(version).is_none_or(|death| death >= oldest);
        self.versions = self.versions.iter().filter(alive).copied().collect();
    }
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Written,
    /// The write has not ended.
    BeingWritten,
    /// A version that is not there any more, or never was.
    Impossible,
}

/// A history for each common block.
#[derive(Default)]
pub(crate) struct Histories {
    clock: AtomicU64,
    blocks: [Mutex<History>; (COMMON.end - COMMON.start) as usize],
}

impl Histories {
    fn of(&self, block: u64) -> std::sync::MutexGuard<'_, History> {
        self.blocks[(block - COMMON.start) as usize].lock().unwrap()
    }

    fn tick(&self) -> u64 {
        // SeqCst: times are compared across threads.
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Before the request is sent. Returns when that was.
    pub(crate) fn begin_write(&self, block: u64, stamp: u64) -> u64 {
        let mut history = self.of(block);
        let begun = self.tick();
        history.versions.push(Version {
            stamp,
            begun,
            ended: None,
            is_refused: false,
        });
        begun
    }

    /// After the reply to what began then, which may have been that there is no room.
    pub(crate) fn end_write(&self, block: u64, begun: u64, is_refused: bool) {
        let mut history = self.of(block);
        let now = self.tick();
        let mut versions = history.versions.iter_mut();
        let version = versions.find(|version| version.begun == begun).unwrap();
        version.ended = Some(now);
        version.is_refused = is_refused;
        history.forget_the_dead(now);
    }

    /// Before the request is sent. Returns when that was.
    pub(crate) fn begin_read(&self, block: u64) -> u64 {
        let mut history = self.of(block);
        let begun = self.tick();
        history.reads.push(begun);
        begun
    }

    /// After the reply to what began then: whether that version may be there.
    pub(crate) fn end_read(&self, block: u64, begun: u64, stamp: u64) -> Found {
        let mut history = self.of(block);
        let possible = |version: &&Version| {
            let dead = history.death(version).is_some_and(|death| death < begun);
            version.stamp == stamp && !dead
        };
        let found: Vec<bool> = history
            .versions
            .iter()
            .filter(possible)
            .map(|version| version.ended.is_some())
            .collect();
        let at = history
            .reads
            .iter()
            .position(|read| *read == begun)
            .unwrap();
        history.reads.swap_remove(at);
        let now = self.tick();
        history.forget_the_dead(now);
        match found[..] {
            [] => Found::Impossible,
            _ if found.contains(&true) => Found::Written,
            _ => Found::BeingWritten,
        }
    }
}

#[test]
fn a_version_dies_with_a_write_that_came_after_it() {
    let (histories, block) = (Histories::default(), COMMON.start);
    let read = |stamp| {
        let begun = histories.begin_read(block);
        histories.end_read(block, begun, stamp)
    };
    assert_eq!(read(0), Found::Written);
    assert_eq!(read(7), Found::Impossible);
    let early = histories.begin_read(block);
    let first = histories.begin_write(block, 1);
    assert_eq!((read(0), read(1)), (Found::Written, Found::BeingWritten));
    let second = histories.begin_write(block, 2);
    histories.end_write(block, first, false);
    // The second began before the first had ended: either may have come last.
    assert_eq!((read(0), read(1)), (Found::Impossible, Found::Written));
    histories.end_write(block, second, false);
    assert_eq!((read(1), read(2)), (Found::Written, Found::Written));
    let third = histories.begin_write(block, 3);
    histories.end_write(block, third, false);
    let found = [0, 1, 2, 3].map(read);
    assert_eq!(found[..3], [Found::Impossible; 3]);
    assert_eq!(found[3], Found::Written);
    assert_eq!(histories.end_read(block, early, 0), Found::Written);
}

#[test]
fn a_write_that_was_refused_ends_no_version() {
    let (histories, block) = (Histories::default(), COMMON.start);
    let read = |stamp| {
        let begun = histories.begin_read(block);
        histories.end_read(block, begun, stamp)
    };
    let first = histories.begin_write(block, 1);
    histories.end_write(block, first, false);
    let second = histories.begin_write(block, 2);
    histories.end_write(block, second, true);
    assert_eq!(read(0), Found::Impossible);
    assert_eq!([1, 2].map(read), [Found::Written; 2]);
    let third = histories.begin_write(block, 3);
    histories.end_write(block, third, false);
    assert_eq!([1, 2].map(read), [Found::Impossible; 2]);
    assert_eq!(read(3), Found::Written);
}
