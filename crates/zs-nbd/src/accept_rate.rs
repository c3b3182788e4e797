//! The rate at which connections are accepted. Decisions only, no clock.

use std::time::{Duration, Instant};

/// The connections that may be accepted at once after a rest.
const BURST: u32 = 64;
/// The time for each further connection. Connections that come faster wait in the system's queue,
/// and cost no time here.
const INTERVAL: Duration = Duration::from_millis(2);

/// A rate with bursts. Each accepted connection moves the time at which a whole burst is allowed
/// again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcceptRate {
    rested: Instant,
}

impl AcceptRate {
    pub(crate) fn new(now: Instant) -> Self {
        Self { rested: now }
    }

    /// Returns the time that the next connection has to wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let owed = self.rested.saturating_duration_since(now);
        (owed + INTERVAL).saturating_sub(INTERVAL * BURST)
    }

    /// Notes that a connection was accepted.
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
        let mut rate = AcceptRate::new(now);
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
