//! How long requests take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counts of requests by duration: number i of those below 2^(i + 1) ns that are not in a lower one.
pub type Histogram = [u64; 40];

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timed {
    Read,
    Write,
    Discard,
}

#[derive(Debug)]
pub(crate) struct Latencies([Latency; 3]);

#[derive(Debug)]
struct Latency {
    counts: [AtomicU64; 40],
    /// Nanoseconds, of all together.
    sum: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        let none = || Latency {
            counts: [const { AtomicU64::new(0) }; 40],
            sum: AtomicU64::new(0),
        };
        Self([none(), none(), none()])
    }
}

// Relaxed everywhere: sums, by which nothing is published.
impl Latencies {
    pub(crate) fn time<T>(&self, what: Timed, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = run();
        let ns = start.elapsed().as_nanos() as u64;
        let bucket = (ns.max(1).ilog2() as usize).min(39);
        let latency = &self.0[what as usize];
        latency.counts[bucket].fetch_add(1, Ordering::Relaxed);
        latency.sum.fetch_add(ns, Ordering::Relaxed);
        result
    }

    pub(crate) fn histogram(&self, what: Timed) -> Histogram {
        self.0[what as usize]
            .counts
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn sum_ns(&self, what: Timed) -> u64 {
        self.0[what as usize].sum.load(Ordering::Relaxed)
    }

    pub(crate) fn forget(&self) {
        for latency in &self.0 {
            for count in &latency.counts {
                count.store(0, Ordering::Relaxed);
            }
            latency.sum.store(0, Ordering::Relaxed);
        }
    }
}
