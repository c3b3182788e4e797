//! Rates: what came between two looks at a disk.

use crate::control::{Operations, Stat};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Looks whose throughput is kept: as wide as terminals get.
const KEPT: usize = 512;

/// What a disk did lately.
pub(super) struct History {
    now: Stat,
    before: Option<Stat>,
    /// Between these two.
    seconds: f64,
    last_look: Instant,
    /// Bytes a second that were read and written, the last ones last.
    throughput: VecDeque<u64>,
}

/// What requests of one kind did between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    /// A second.
    pub(super) requests: u64,
    /// A second.
    pub(super) bytes: u64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
}

impl History {
    pub(super) fn new(first: Stat, when: Instant) -> Self {
        Self {
            now: first,
            before: None,
            seconds: 1.0,
            last_look: when,
            throughput: VecDeque::new(),
        }
    }

    /// Another look.
    pub(super) fn add(&mut self, stat: Stat, when: Instant) {
        let elapsed = when.saturating_duration_since(self.last_look);
        self.seconds = elapsed.as_secs_f64().max(1e-3);
        self.last_look = when;
        self.before = Some(std::mem::replace(&mut self.now, stat));
        let bytes = self.read().bytes + self.write().bytes;
        self.throughput.push_back(bytes);
        if self.throughput.len() > KEPT {
            self.throughput.pop_front();
        }
    }

    pub(super) fn now(&self) -> &Stat {
        &self.now
    }

    pub(super) fn last_look(&self) -> Instant {
        self.last_look
    }

    /// Returns the last `count` throughputs.
    pub(super) fn throughput(&self, count: usize) -> Vec<u64> {
        let skipped = self.throughput.len().saturating_sub(count);
        self.throughput.iter().skip(skipped).copied().collect()
    }

    pub(super) fn read(&self) -> Rate {
        self.rate(|stat| &stat.read)
    }

    pub(super) fn write(&self) -> Rate {
        self.rate(|stat| &stat.write)
    }

    pub(super) fn discard(&self) -> Rate {
        self.rate(|stat| &stat.discard)
    }

    fn rate(&self, of: fn(&Stat) -> &Operations) -> Rate {
        let Some(before) = &self.before else {
            return Rate::default();
        };
        let (before, now) = (of(before), of(&self.now));
        // After a reset there is less than before.
        let per_second = |before: u64, now: u64| {
            let since = now.checked_sub(before).unwrap_or(now);
            (since as f64 / self.seconds).round() as u64
        };
        let latency = now.latency.since(&before.latency);
        Rate {
            requests: per_second(before.requests, now.requests),
            bytes: per_second(before.bytes, now.bytes),
            p50: latency.quantile(0.5),
            p99: latency.quantile(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Buckets;

    fn stat(requests: u64) -> Stat {
        Stat {
            read: Operations {
                requests,
                bytes: requests * 4096,
                latency: Buckets(vec![0, 0, requests]),
                ..Operations::default()
            },
            ..Stat::default()
        }
    }

    #[test]
    fn rates_are_per_second_and_survive_a_reset() {
        let start = Instant::now();
        let mut history = History::new(stat(100), start);
        assert_eq!(history.read(), Rate::default());
        history.add(stat(300), start + Duration::from_secs(2));
        let rate = history.read();
        assert_eq!((rate.requests, rate.bytes), (100, 409_600));
        assert_eq!(rate.p99, Some(Duration::from_nanos(8)));
        history.add(stat(50), start + Duration::from_secs(3));
        assert_eq!(history.read().requests, 50);
        history.add(stat(50), start + Duration::from_secs(4));
        assert_eq!(history.read().p50, None);
        assert_eq!(history.throughput(2), [50 * 4096, 0]);
    }
}
