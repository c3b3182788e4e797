//! Counters that many threads add to.
//!
//! thread -> one of 8 shards, apart from each other -> sum. A sum is of slightly different moments while others are at
//! work, and never below zero in what it reports.

use crate::content::{KINDS, Kind};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

const SHARDS: usize = 8;

/// What is counted beside the kinds of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Reads,
    Writes,
    Discards,
    BytesRead,
    BytesWritten,
    FailedReads,
    FailedWrites,
    RawSince,
    BackingReads,
    BackingWrites,
    FramesCompacted,
    Recompressed,
}

const EVENTS: usize = Event::Recompressed as usize + 1;

#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    kinds: [AtomicI64; KINDS],
    events: [AtomicI64; EVENTS],
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            kinds: [const { AtomicI64::new(0) }; KINDS],
            events: [const { AtomicI64::new(0) }; EVENTS],
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters([Shard; SHARDS]);

fn own_shard() -> usize {
    thread_local! {
        static SHARD: Cell<usize> = {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            // Relaxed: only a number unlike the last ones is wanted.
            Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS)
        };
    }
    SHARD.get()
}

// Relaxed everywhere: sums, by which nothing is published.
impl Counters {
    /// A block that was of one kind is of another.
    pub(crate) fn moved(&self, before: Kind, after: Kind) {
        if before == after {
            return;
        }
        let kinds = &self.0[own_shard()].kinds;
        kinds[before as usize].fetch_sub(1, Ordering::Relaxed);
        kinds[after as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, event: Event, by: u64) {
        self.0[own_shard()].events[event as usize].fetch_add(by as i64, Ordering::Relaxed);
    }

    /// Blocks of a kind; for holes, less all that are none.
    pub(crate) fn blocks(&self, kind: Kind) -> u64 {
        let of = |shard: &Shard| shard.kinds[kind as usize].load(Ordering::Relaxed);
        self.0.iter().map(of).sum::<i64>().max(0) as u64
    }

    pub(crate) fn events(&self, event: Event) -> u64 {
        let of = |shard: &Shard| shard.events[event as usize].load(Ordering::Relaxed);
        self.0.iter().map(of).sum::<i64>().max(0) as u64
    }

    /// All events are counted from here on.
    pub(crate) fn forget_events(&self) {
        for event in self.0.iter().flat_map(|shard| &shard.events) {
            event.store(0, Ordering::Relaxed);
        }
    }
}
