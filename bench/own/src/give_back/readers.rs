//! Threads that read random live objects, first by themselves, then while objects move.

use super::child::Pool;
use crate::figures::Figures;
use crate::numbers::{XorShift32, quantile, timer_cost};
use anyhow::{Result, bail};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;
use zsmalloc::Handle;

/// Reads between two looks at the clock.
const BATCH: u32 = 64;
/// Batches of each thread before anything moves.
const IDLE: usize = 4000;
/// Batches of each thread that there is room for while objects move.
const MOST: usize = 1 << 20;

/// The times of one thread's batches, in nanoseconds.
struct Times {
    idle: Vec<u64>,
    during: Vec<u64>,
}

struct Reader<'a> {
    pool: &'a Pool,
    live: &'a [Handle],
    numbers: XorShift32,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    /// Reads a batch of objects; returns how long it took.
    fn batch(&mut self) -> Result<u64> {
        let start = Instant::now();
        for _ in 0..BATCH {
            let handle = self.live[self.numbers.below(self.live.len() as u32) as usize];
            self.pool.read_into(handle, &mut self.buffer)?;
        }
        Ok(start.elapsed().as_nanos() as u64)
    }

    fn run(&mut self, begin: &Barrier, done: &AtomicBool) -> Result<Times> {
        let mut during = Vec::with_capacity(MOST);
        let idle = (0..IDLE).map(|_| self.batch()).collect::<Result<_>>();
        // Passed whatever happened, as others wait here.
        begin.wait();
        let idle = idle?;
        // Acquire pairs with the Release in `during`: a batch counts if the work had not ended before.
        while !done.load(Ordering::Acquire) && during.len() < MOST {
            during.push(self.batch()?);
        }
        Ok(Times { idle, during })
    }
}

/// Has `count` threads read while `work` runs; returns its result and the time of a read, before and meanwhile.
pub(super) fn during<T>(
    pool: &Pool,
    live: &[Handle],
    count: u32,
    work: impl FnOnce() -> T,
) -> Result<(T, Figures)> {
    let (begin, done) = (Barrier::new(count as usize + 1), AtomicBool::new(false));
    let (begin, done) = (&begin, &done);
    let (worked, times) = thread::scope(|scope| {
        let spawn = |number| {
            let mut reader = Reader {
                pool,
                live,
                numbers: XorShift32::new(number + 1),
                buffer: vec![0; super::PAGE.bytes()],
            };
            scope.spawn(move || reader.run(begin, done))
        };
        let readers: Vec<_> = (0..count).map(spawn).collect();
        begin.wait();
        let worked = work();
        done.store(true, Ordering::Release);
        let times = readers.into_iter().map(|reader| match reader.join() {
            Ok(times) => times,
            Err(_) => bail!("a reader panicked"),
        });
        (worked, times.collect::<Result<Vec<_>>>())
    });
    let cost = timer_cost(|| Instant::now().elapsed());
    let mut figures = Figures::default();
    let times = times?;
    quantiles(
        &mut figures,
        "idle",
        cost,
        times.iter().flat_map(|times| &times.idle),
    );
    quantiles(
        &mut figures,
        "moving",
        cost,
        times.iter().flat_map(|times| &times.during),
    );
    Ok((worked, figures))
}

fn quantiles<'a>(
    figures: &mut Figures,
    phase: &str,
    cost: u64,
    batches: impl Iterator<Item = &'a u64>,
) {
    let mut batches: Vec<u64> = batches.map(|batch| batch.saturating_sub(cost)).collect();
    batches.sort_unstable();
    figures.push(format!("read_{phase}_batches"), batches.len() as f64);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        if let Some(batch) = quantile(&batches, share) {
            figures.push(
                format!("read_{phase}_{name}_ns"),
                batch as f64 / f64::from(BATCH),
            );
        }
    }
}
