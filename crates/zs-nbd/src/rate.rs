//! How fast clients are let in: a decision alone.

use std::time::{Duration, Instant};

/// So many at once,
const BURST: u32 = 64;
/// and then one each of these: what comes faster waits in the system's queue, and costs nobody's
/// time.
const INTERVAL: Duration = Duration::from_millis(2);

/// A rate with bursts: each one that is let in moves the time at which all of a burst may come
/// again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    rested: Instant,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self { rested: now }
    }

    /// Returns how long the next one has to wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let owed = self.rested.saturating_duration_since(now);
        (owed + INTERVAL).saturating_sub(INTERVAL * BURST)
    }

    /// One was let in.
    pub(crate) fn note(&mut self, now: Instant) {
        self.rested = self.rested.max(now) + INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_slowed_down_and_a_burst_is_not() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        for _ in 0..BURST {
            assert_eq!(rate.wait(now), Duration::ZERO);
            rate.note(now);
        }
        for _ in 0..1000 {
            assert_eq!(rate.wait(now), INTERVAL);
            now += INTERVAL;
            assert_eq!(rate.wait(now), Duration::ZERO);
            rate.note(now);
        }
        now += INTERVAL * 10;
        for _ in 0..10 {
            assert_eq!(rate.wait(now), Duration::ZERO);
            rate.note(now);
        }
        assert_eq!(rate.wait(now), INTERVAL, "what was not used has been saved");
    }
}
