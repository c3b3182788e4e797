//! The times at which a command is sampled.

use std::time::Duration;

/// Decides when the next sample is due.
#[derive(Debug, Default)]
pub(super) struct SampleSchedule {
    /// The count at the last sample, even if it failed, so that memory that cannot be read is not
    /// tried again and again.
    tried: u64,
    /// The time spent on samples, while the command was stopped.
    spent: Duration,
}

impl SampleSchedule {
    /// Says whether a sample is due: the count is a tenth more than at the last sample, and the
    /// command was stopped for at most half of the time since its start. With a quarter more, the
    /// time does not count.
    pub(super) fn is_due(&self, counted: u64, since_start: Duration) -> bool {
        let has_time = self.spent <= since_start.saturating_sub(self.spent);
        counted > self.tried + self.tried / 4 || has_time && counted > self.tried + self.tried / 10
    }

    pub(super) fn note(&mut self, counted: u64, took: Duration) {
        self.tried = counted;
        self.spent += took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_sample_is_due_if_there_is_a_tenth_more_and_time_for_it() {
        let mut schedule = SampleSchedule::default();
        assert!(!schedule.is_due(0, SECOND) && schedule.is_due(1, Duration::ZERO));
        schedule.note(100, SECOND);
        assert!(!schedule.is_due(110, 2 * SECOND) && schedule.is_due(111, 2 * SECOND));
        // It was stopped for more than half of the time: only a quarter more is due.
        let early = SECOND * 3 / 2;
        assert!(!schedule.is_due(125, early) && schedule.is_due(126, early));
    }

    #[test]
    fn what_was_tried_is_not_tried_again_whatever_came_of_it() {
        let mut schedule = SampleSchedule::default();
        schedule.note(1 << 30, SECOND);
        for after in [1, 10, 100_000] {
            assert!(!schedule.is_due(1 << 30, after * SECOND));
        }
    }
}
