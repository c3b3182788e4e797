//! The device's time for a request, and the number of requests for each thread that follows from
//! it.

use crate::lengths::to_usize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The nanoseconds of work for which waking another thread is worthwhile: several times the cost of
/// a wake-up.
const HAND_OVER: u64 = 50_000;
/// The most requests of a batch.
pub(crate) const FULL_REQUESTS: usize = 32;

/// The nanoseconds that the device takes for a request. It is a guess that only speed depends on,
/// so its accesses are relaxed.
#[derive(Debug, Default)]
pub(crate) struct ServiceTime(AtomicU64);

impl ServiceTime {
    /// Notes the time that the device took for `requests` requests.
    pub(crate) fn note(&self, took: Duration, requests: usize) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let took = took / requests.max(1) as u64;
        let guess = next(self.0.load(Ordering::Relaxed), took);
        self.0.store(guess, Ordering::Relaxed);
    }

    /// Says whether `requests` requests take so long that another thread should read on meanwhile.
    pub(crate) fn is_long(&self, requests: usize) -> bool {
        self.0.load(Ordering::Relaxed) * requests as u64 >= HAND_OVER
    }

    /// Returns the most requests for a batch, with `waiting` requests at hand. They are divided
    /// between `threads` threads, but each gets enough work to be worth waking.
    pub(crate) fn share(&self, waiting: usize, threads: usize) -> usize {
        let guess = self.0.load(Ordering::Relaxed).max(1);
        let worth = to_usize(HAND_OVER.div_ceil(guess)).min(FULL_REQUESTS);
        waiting.div_ceil(threads).clamp(worth, FULL_REQUESTS)
    }
}

/// Returns the next guess. It falls at once, but at most doubles, because the scheduler may have
/// made a single batch slow.
fn next(guess: u64, took: u64) -> u64 {
    took.min(2 * guess + 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service_time(took: Duration) -> ServiceTime {
        let service_time = ServiceTime::default();
        for _ in 0..32 {
            service_time.note(4 * took, 4);
        }
        service_time
    }

    #[test]
    fn one_slow_batch_is_nobodys_pace() {
        let service_time = service_time(Duration::from_nanos(500));
        assert!(!service_time.is_long(FULL_REQUESTS));
        service_time.note(Duration::from_secs(1), 1);
        assert!(!service_time.is_long(FULL_REQUESTS));
        for _ in 0..16 {
            service_time.note(Duration::from_secs(1), 1);
        }
        assert!(service_time.is_long(1));
        service_time.note(Duration::from_nanos(500), 1);
        assert!(!service_time.is_long(FULL_REQUESTS), "down at once");
    }

    #[test]
    fn slow_requests_are_shared_by_all_threads() {
        let fast = service_time(Duration::from_nanos(500));
        assert_eq!(fast.share(200, 8), FULL_REQUESTS);
        let compressed = service_time(Duration::from_micros(7));
        assert_eq!(compressed.share(15, 8), 8, "what is worth a wake-up");
        let slow = service_time(Duration::from_millis(1));
        assert_eq!(slow.share(15, 8), 2);
        assert_eq!(slow.share(1, 8), 1);
        assert_eq!(slow.share(1000, 8), FULL_REQUESTS);
    }
}
