//! How fast the device is, and how requests are shared out among threads because of that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Work that is worth waking another thread to read on: several times what a wake-up costs.
const HAND_OVER: u64 = Duration::from_micros(50).as_nanos() as u64;
/// Most requests of a batch.
pub(crate) const FULL_REQUESTS: usize = 32;

/// Nanoseconds that the device takes for a request. A guess: relaxed, and nothing depends on it but
/// speed.
#[derive(Debug, Default)]
pub(crate) struct ServiceTime(AtomicU64);

impl ServiceTime {
    /// Notes how long it took for so many requests.
    pub(crate) fn note(&self, took: Duration, requests: usize) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let took = took / requests.max(1) as u64;
        let guess = next(self.0.load(Ordering::Relaxed), took);
        self.0.store(guess, Ordering::Relaxed);
    }

    /// Says whether so many requests take long enough for another thread to read on meanwhile.
    pub(crate) fn is_long(&self, requests: usize) -> bool {
        self.0.load(Ordering::Relaxed) * requests as u64 >= HAND_OVER
    }

    /// Returns how many requests make a batch, with `waiting` of them at hand and so many threads:
    /// all of them work, each on something that is worth waking it.
    pub(crate) fn share(&self, waiting: usize, threads: usize) -> usize {
        let guess = self.0.load(Ordering::Relaxed).max(1);
        let worth = HAND_OVER.div_ceil(guess).min(FULL_REQUESTS as u64) as usize;
        waiting.div_ceil(threads).clamp(worth, FULL_REQUESTS)
    }
}

/// Returns the next guess: down at once, up by the double at most, since a single batch may have
/// been slow by the scheduler's fault.
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
