//! Threads that read random live objects, in windows with and without maintenance.
//!
//! `handles -> batches of reads, timed, each checked -> counts by nanoseconds -> quantiles`

use super::outcome::{ReadTimes, Readers};
use crate::failure::Failure;
use crate::pool::Pool;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;
use zsmalloc::Handle;

/// Reads between two looks at the clock.
const BATCH: usize = 16;

/// Nanoseconds that are told apart; a read that takes longer counts as this.
const LONGEST: usize = 1 << 17;

const IDLE: u32 = 0;
const BUSY: u32 = 1;
const OVER: u32 = 2;

/// What readers know of a live object: its handle, its length, its first and last byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    handle: Handle,
    len: usize,
    ends: (u8, u8),
}

impl Known {
    /// Room for what is known of so many, written to before anything is measured.
    pub(super) fn room_for(objects: usize) -> Vec<Self> {
        let Some(handle) = Handle::from_bits(u64::MAX) else {
            return Vec::new();
        };
        let stand_in = Self {
            handle,
            len: 0,
            ends: (0, 0),
        };
        let mut room = vec![stand_in; objects];
        room.clear();
        room
    }
}

/// What a maintenance tells the readers: whether it is at work.
pub(super) struct Phase(AtomicU32);

impl Phase {
    pub(super) fn is_busy(&self, busy: bool) {
        // Release pairs with the Acquire of a reader: a batch belongs to a window if it lies in it
        // whole.
        self.0.store(u32::from(busy), Ordering::Release);
    }
}

/// How often a read took so many nanoseconds; written to before anything is measured.
pub(super) struct Histogram(Vec<u32>);

impl Histogram {
    fn new() -> Self {
        let mut counts = vec![1; LONGEST + 1];
        counts.fill(0);
        Self(counts)
    }

    /// Two for each of so many readers.
    pub(super) fn of_readers(count: usize) -> Vec<(Self, Self)> {
        (0..count).map(|_| (Self::new(), Self::new())).collect()
    }

    fn add(&mut self, nanoseconds: usize) {
        self.0[nanoseconds.min(LONGEST)] += 1;
    }

    fn quantile(&self, share: f64) -> Option<u64> {
        let all: u64 = self.0.iter().copied().map(u64::from).sum();
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let place = self.0.iter().position(|&count| {
            seen += u64::from(count);
            seen >= rank
        });
        place.map(|place| place as u64)
    }

    fn times(all: &[(Self, Self)], of: fn(&(Self, Self)) -> &Self) -> Option<ReadTimes> {
        let mut sum = Self::new();
        for histogram in all.iter().map(of) {
            for (sum, count) in sum.0.iter_mut().zip(&histogram.0) {
                *sum += count;
            }
        }
        Some(ReadTimes {
            p50_ns: sum.quantile(0.5)?,
            p99_ns: sum.quantile(0.99)?,
        })
    }
}

/// Reads every object once, to know it.
pub(super) fn known(
    pool: &Pool,
    live: impl Iterator<Item = (Handle, u32)>,
    known: &mut Vec<Known>,
) -> Result<(), Failure> {
    let mut buffer = vec![0; pool.geometry().page_size().bytes()];
    for (handle, _) in live {
        let len = pool
            .read_into(handle, &mut buffer)
            .map_err(crate::failure::failed)?;
        let ends = (buffer[0], buffer[len - 1]);
        known.push(Known { handle, len, ends });
    }
    Ok(())
}

fn read_all(
    pool: &Pool,
    known: &[Known],
    phase: &Phase,
    (idle, busy): &mut (Histogram, Histogram),
    seed: u64,
) -> Result<(), Failure> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut buffer = vec![0; pool.geometry().page_size().bytes()];
    loop {
        // Acquire pairs with the Release in `is_busy`.
        let before = phase.0.load(Ordering::Acquire);
        let start = Instant::now();
        for _ in 0..BATCH {
            let known = known[random.usize(0..known.len())];
            let len = pool
                .read_into(known.handle, &mut buffer)
                .map_err(crate::failure::failed)?;
            if (len, buffer[0], buffer[len - 1]) != (known.len, known.ends.0, known.ends.1) {
                let text = "an object came back with other bytes while memory was moved".to_owned();
                return Err(Failure::Failed(text));
            }
        }
        let time = start.elapsed().as_nanos() as usize / BATCH;
        match (before, phase.0.load(Ordering::Acquire)) {
            (IDLE, IDLE) => idle.add(time),
            (BUSY, BUSY) => busy.add(time),
            (OVER, _) => return Ok(()),
            _ => {}
        }
    }
}

/// Has `count` threads read while `work` goes on; returns their times with its result.
pub(super) fn during<T>(
    pool: &Pool,
    known: &[Known],
    times: &mut [(Histogram, Histogram)],
    work: impl FnOnce(&Phase) -> Result<T, Failure>,
) -> Result<(T, Option<Readers>), Failure> {
    let phase = &Phase(AtomicU32::new(IDLE));
    let begin = &Barrier::new(times.len() + 1);
    let (worked, read) = thread::scope(|scope| {
        let spawn = |(number, times): (u64, _)| {
            scope.spawn(move || {
                begin.wait();
                read_all(pool, known, phase, times, number)
            })
        };
        let readers: Vec<_> = (0..).zip(times.iter_mut()).map(spawn).collect();
        begin.wait();
        let worked = work(phase);
        phase.0.store(OVER, Ordering::Release);
        let mut joined = readers.into_iter().map(|reader| match reader.join() {
            Ok(read) => read,
            Err(_) => Err(Failure::Failed("a reader panicked".to_owned())),
        });
        (worked, joined.try_for_each(|read| read))
    });
    let worked = worked?;
    read?;
    let idle = Histogram::times(times, |(idle, _)| idle);
    let busy = Histogram::times(times, |(_, busy)| busy);
    let readers = idle.zip(busy).map(|(idle, busy)| Readers { idle, busy });
    Ok((worked, readers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_counts() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), None, "nothing was counted");
        for time in 1..=100 {
            histogram.add(time);
        }
        histogram.add(usize::MAX);
        assert_eq!(histogram.quantile(0.5), Some(51));
        assert_eq!(histogram.quantile(0.99), Some(100));
        assert_eq!(histogram.quantile(1.0), Some(LONGEST as u64));
    }
}
