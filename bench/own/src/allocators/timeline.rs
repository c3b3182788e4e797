//! The process's memory as time goes by.

use super::phase::Moment;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// How often memory is looked at.
const PERIOD: Duration = Duration::from_millis(4);

/// Room for what is found, made before anything is measured.
const MOST: usize = 1 << 14;

const MIB: f64 = (1 << 20) as f64;

/// Looks at the memory between operations, by a file that costs a microsecond.
pub(super) struct Timeline {
    statm: File,
    page: f64,
    before: f64,
    /// Of the phases that ended, and when the one at hand began.
    ended: Duration,
    begun: Instant,
    last: Instant,
    moments: Vec<Moment>,
}

impl Timeline {
    /// Memory is what comes from here on.
    pub(super) fn new() -> Result<Self> {
        let now = Instant::now();
        let mut timeline = Self {
            statm: File::open("/proc/self/statm")?,
            page: zs_os::os_page_size() as f64,
            before: 0.0,
            ended: Duration::ZERO,
            begun: now,
            last: now,
            moments: Vec::with_capacity(MOST),
        };
        timeline.before = timeline.anonymous_mib().context("/proc/self/statm")?;
        Ok(timeline)
    }

    /// Anonymous memory of the process: what is resident, but for files and shared memory.
    fn anonymous_mib(&self) -> Option<f64> {
        let mut text = [0; 128];
        let len = self.statm.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..len]).ok()?;
        let mut numbers = text
            .split(' ')
            .skip(1)
            .map_while(|word| word.parse::<u64>().ok());
        let (resident, shared) = (numbers.next()?, numbers.next()?);
        Some(resident.saturating_sub(shared) as f64 * self.page / MIB)
    }

    pub(super) fn begin_phase(&mut self, payload: u64) {
        self.begun = Instant::now();
        self.look(self.begun, payload);
    }

    pub(super) fn end_phase(&mut self, payload: u64) {
        let now = Instant::now();
        self.look(now, payload);
        self.ended += now - self.begun;
    }

    /// Called between operations.
    #[inline]
    pub(super) fn tick(&mut self, now: Instant, payload: u64) {
        if now.saturating_duration_since(self.last) >= PERIOD {
            self.look(now, payload);
        }
    }

    #[cold]
    fn look(&mut self, now: Instant, payload: u64) {
        self.last = now;
        let Some(resident) = self.anonymous_mib() else {
            return;
        };
        if self.moments.len() < MOST {
            let since = self.ended + now.saturating_duration_since(self.begun);
            self.moments.push(Moment {
                ms: since.as_secs_f64() * 1e3,
                resident_mib: resident - self.before,
                payload_mib: payload as f64 / MIB,
            });
        }
    }

    pub(super) fn into_moments(self) -> Vec<Moment> {
        self.moments
    }
}
