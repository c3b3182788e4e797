//! Readings of what a pool holds and what is resident, as time goes by.

use super::outcome::{BlockState, Mark, Moment, Snapshot};
use crate::failure::{Failure, failed};
use crate::pool::Pool;
use std::time::{Duration, Instant};
use zs_os::ProcessMeter;

/// Readings of a whole run: each takes the system a millisecond or so.
const READINGS: usize = 150;

/// Time between two of them at least.
const REST: Duration = Duration::from_millis(2);

/// A meter of this process, and what it has read.
pub(super) struct Looks<'a> {
    meter: &'a mut ProcessMeter,
    /// Resident before the pool was made.
    before: u64,
    begun: Instant,
    last: Instant,
    /// Steps between two readings, and since the last.
    interval: usize,
    steps: usize,
    pub(super) history: Vec<Moment>,
    pub(super) marks: Vec<Mark>,
}

impl<'a> Looks<'a> {
    /// Readings of a run of `steps` steps.
    pub(super) fn new(meter: &'a mut ProcessMeter, steps: usize) -> Result<Self, Failure> {
        let history = Vec::with_capacity(4 * READINGS);
        let marks = Vec::with_capacity(64);
        let before = meter.measure().map_err(failed)?;
        let begun = Instant::now();
        Ok(Self {
            meter,
            before,
            begun,
            last: begun,
            interval: (steps / READINGS).max(1),
            steps: 0,
            history,
            marks,
        })
    }

    /// Something begins.
    pub(super) fn mark(&mut self, what: &'static str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.marks.push(Mark { seconds, what });
    }

    /// One step is done.
    pub(super) fn step(&mut self, pool: &Pool) -> Result<(), Failure> {
        self.steps += 1;
        if self.steps >= self.interval && self.last.elapsed() >= REST {
            self.read(pool)?;
        }
        Ok(())
    }

    /// Reads what is held and resident now.
    pub(super) fn read(&mut self, pool: &Pool) -> Result<Moment, Failure> {
        let resident = self.meter.measure().map_err(failed)?;
        let moment = Moment {
            seconds: self.begun.elapsed().as_secs_f64(),
            payload_bytes: pool.stats().payload_bytes,
            rss_bytes: resident.saturating_sub(self.before),
        };
        self.history.push(moment);
        self.last = Instant::now();
        self.steps = 0;
        Ok(moment)
    }

    /// Returns the arena as it is now.
    pub(super) fn snapshot(&mut self, pool: &Pool) -> Result<Snapshot, Failure> {
        let moment = self.read(pool)?;
        let state =
            |block: zs_mm::BlockState| BlockState::of(block.in_use() as u16, block.frames as u16);
        Ok(Snapshot {
            blocks: pool.arena().blocks().map(state).collect(),
            payload_bytes: moment.payload_bytes,
            rss_bytes: moment.rss_bytes,
        })
    }
}
