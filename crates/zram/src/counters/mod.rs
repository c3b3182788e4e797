//! Counters that many threads add to.
//!
//! thread -> one of 8 shards, apart from each other -> sum. A sum is of slightly different moments
//! while others are at work, and never below zero in what it reports.

pub(crate) mod histogram;

use crate::block::content::{FORMS, Form, KINDS, Kind};
use crate::counters::histogram::{BUCKETS, Histogram, TIMED, Timed, bucket_of};
use crate::ids::as_index;
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

const SHARDS: usize = 8;

/// An event that is counted, beside the kinds of blocks.
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
    /// Objects by the code of their form, and their bytes.
    objects: [AtomicI64; FORMS],
    bytes: [AtomicI64; FORMS],
    events: [AtomicI64; EVENTS],
    latencies: [[AtomicU64; BUCKETS]; TIMED],
    /// Nanoseconds of all requests together.
    spent: [AtomicU64; TIMED],
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            kinds: [const { AtomicI64::new(0) }; KINDS],
            objects: [const { AtomicI64::new(0) }; FORMS],
            bytes: [const { AtomicI64::new(0) }; FORMS],
            events: [const { AtomicI64::new(0) }; EVENTS],
            latencies: [const { [const { AtomicU64::new(0) }; BUCKETS] }; TIMED],
            spent: [const { AtomicU64::new(0) }; TIMED],
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
    /// Counts a block that was of one kind and is of another.
    pub(crate) fn moved(&self, before: Kind, after: Kind) {
        if before == after {
            return;
        }
        let kinds = &self.0[own_shard()].kinds;
        kinds[before as usize].fetch_sub(1, Ordering::Relaxed);
        kinds[after as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an object that was stored, a block's own or a shared one.
    pub(crate) fn stored(&self, form: Form, len: usize) {
        self.objects(form, 1, len as i64);
    }

    /// Counts an object that has gone.
    pub(crate) fn freed(&self, form: Form, len: usize) {
        self.objects(form, -1, -(len as i64));
    }

    fn objects(&self, form: Form, objects: i64, bytes: i64) {
        let (shard, code) = (&self.0[own_shard()], as_index(form.code()));
        shard.objects[code].fetch_add(objects, Ordering::Relaxed);
        shard.bytes[code].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Objects of a form, and their bytes.
    pub(crate) fn of_form(&self, form: Form) -> (u64, u64) {
        let sum = |of: fn(&Shard) -> &[AtomicI64; FORMS]| {
            let one = |shard| of(shard)[as_index(form.code())].load(Ordering::Relaxed);
            self.0.iter().map(one).sum::<i64>().max(0).unsigned_abs()
        };
        (sum(|shard| &shard.objects), sum(|shard| &shard.bytes))
    }

    /// Counts a request that was answered after so long.
    pub(crate) fn took(&self, what: Timed, ns: u64) {
        let shard = &self.0[own_shard()];
        shard.latencies[what as usize][bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        shard.spent[what as usize].fetch_add(ns, Ordering::Relaxed);
    }

    /// Nanoseconds that all requests of a kind took together.
    pub(crate) fn spent_ns(&self, what: Timed) -> u64 {
        let of = |shard: &Shard| shard.spent[what as usize].load(Ordering::Relaxed);
        self.0.iter().map(of).sum()
    }

    pub(crate) fn histogram(&self, what: Timed) -> Histogram {
        let mut sums = [0; BUCKETS];
        for shard in &self.0 {
            for (sum, count) in sums.iter_mut().zip(&shard.latencies[what as usize]) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sums
    }

    pub(crate) fn add(&self, event: Event, by: u64) {
        self.0[own_shard()].events[event as usize].fetch_add(by as i64, Ordering::Relaxed);
    }

    /// Returns the number of blocks of a kind; for holes, less all that are none.
    pub(crate) fn blocks(&self, kind: Kind) -> u64 {
        let of = |shard: &Shard| shard.kinds[kind as usize].load(Ordering::Relaxed);
        self.0.iter().map(of).sum::<i64>().max(0).unsigned_abs()
    }

    pub(crate) fn events(&self, event: Event) -> u64 {
        let of = |shard: &Shard| shard.events[event as usize].load(Ordering::Relaxed);
        self.0.iter().map(of).sum::<i64>().max(0).unsigned_abs()
    }

    /// Begins to count all events and latencies anew.
    pub(crate) fn forget_events(&self) {
        for shard in &self.0 {
            for event in &shard.events {
                event.store(0, Ordering::Relaxed);
            }
            for count in shard.latencies.iter().flatten().chain(&shard.spent) {
                count.store(0, Ordering::Relaxed);
            }
        }
    }
}
