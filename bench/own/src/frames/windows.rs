//! Readers in a closed loop, in windows without and with maintenance, in turn.
//!
//! Every read is checked: the first and the last bytes of an object are known beforehand.

use super::pool::{PAGE, Pool};
use crate::figures::Figures;
use crate::numbers::{XorShift32, quantile, timer_cost};
use anyhow::{Result, bail};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zsmalloc::{Handle, MaintainBudget, MaintainEnd};

/// Reads between two looks at the clock.
const BATCH: u32 = 64;
/// Bytes that one window of maintenance copies.
const WINDOW_BYTES: u64 = 4 << 20;
/// Maintenance windows at most.
const WINDOWS: u32 = 400;

const IDLE: u32 = 0;
const BUSY: u32 = 1;
const OVER: u32 = 2;

/// What is known of a live object: its handle, its length, its first and last bytes.
#[derive(Debug, Clone, Copy)]
struct Known {
    handle: Handle,
    len: usize,
    ends: (u8, u8),
}

/// The times of one thread's batches, in nanoseconds.
#[derive(Default)]
struct Times {
    idle: Vec<u64>,
    busy: Vec<u64>,
}

fn read_all(known: &[Known], pool: &Pool, phase: &AtomicU32, seed: u32) -> Result<Times> {
    let mut numbers = XorShift32::new(seed);
    let mut buffer = vec![0; PAGE.bytes()];
    let mut times = Times::default();
    loop {
        // Acquire pairs with the Release of each change: a batch belongs to a window if it lies in
        // it whole.
        let before = phase.load(Ordering::Acquire);
        let start = Instant::now();
        for _ in 0..BATCH {
            let known = &known[numbers.below(known.len() as u32) as usize];
            let len = pool.read_into(known.handle, &mut buffer)?;
            if (len, buffer[0], buffer[len - 1]) != (known.len, known.ends.0, known.ends.1) {
                bail!("an object came back with other bytes");
            }
        }
        let time = start.elapsed().as_nanos() as u64;
        match (before, phase.load(Ordering::Acquire)) {
            (IDLE, IDLE) => times.idle.push(time),
            (BUSY, BUSY) => times.busy.push(time),
            (OVER, _) => return Ok(times),
            _ => {}
        }
    }
}

/// Maintains a piece at a time, and as long does nothing.
fn take_turns(pool: &Pool, phase: &AtomicU32) -> Result<(u32, Duration)> {
    let (mut windows, mut busy) = (0, Duration::ZERO);
    for _ in 0..WINDOWS {
        phase.store(BUSY, Ordering::Release);
        let start = Instant::now();
        let report = pool.maintain(MaintainBudget::bytes(WINDOW_BYTES));
        let window = start.elapsed();
        phase.store(IDLE, Ordering::Release);
        windows += 1;
        busy += window;
        // What is measured is how readers do in a time without maintenance.
        thread::sleep(window.max(Duration::from_millis(2)));
        match report.end {
            MaintainEnd::Budget => {}
            MaintainEnd::Done => return Ok((windows, busy)),
            end => bail!("the maintenance ended early: {end:?}"),
        }
    }
    bail!("{WINDOWS} windows of maintenance were not enough")
}

/// Has `count` threads read while maintenance takes its turns.
pub(super) fn measure(pool: &Pool, live: &[Handle], count: u32) -> Result<Figures> {
    let mut known = Vec::new();
    let mut buffer = vec![0; PAGE.bytes()];
    for &handle in live {
        let len = pool.read_into(handle, &mut buffer)?;
        let ends = (buffer[0], buffer[len - 1]);
        known.push(Known { handle, len, ends });
    }
    let phase = AtomicU32::new(IDLE);
    let begin = Barrier::new(count as usize + 1);
    let (known, phase, begin) = (&known, &phase, &begin);
    let (turns, times) = thread::scope(|scope| {
        let spawn = |number| {
            scope.spawn(move || {
                begin.wait();
                read_all(known, pool, phase, number + 1)
            })
        };
        let readers: Vec<_> = (0..count).map(spawn).collect();
        begin.wait();
        thread::sleep(Duration::from_millis(20));
        let turns = take_turns(pool, phase);
        phase.store(OVER, Ordering::Release);
        let times = readers.into_iter().map(|reader| match reader.join() {
            Ok(times) => times,
            Err(_) => bail!("a reader panicked"),
        });
        (turns, times.collect::<Result<Vec<_>>>())
    });
    let ((windows, busy), times) = (turns?, times?);
    let mut figures = Figures::default();
    figures.push("windows", f64::from(windows));
    figures.push("busy_ms", busy.as_secs_f64() * 1e3);
    let idle = quantiles(&mut figures, "idle", times.iter().flat_map(|all| &all.idle));
    let busy = quantiles(&mut figures, "busy", times.iter().flat_map(|all| &all.busy));
    if let (Some(idle), Some(busy)) = (idle, busy) {
        figures.push("read_p99_busy_over_idle", busy / idle);
    }
    Ok(figures)
}

/// Median and 99 % quantile of a read, by batches; returns the latter.
fn quantiles<'a>(
    figures: &mut Figures,
    phase: &str,
    batches: impl Iterator<Item = &'a u64>,
) -> Option<f64> {
    let cost = timer_cost(|| Instant::now().elapsed());
    let mut batches: Vec<u64> = batches.map(|batch| batch.saturating_sub(cost)).collect();
    batches.sort_unstable();
    figures.push(
        format!("reads_{phase}"),
        batches.len() as f64 * f64::from(BATCH),
    );
    let mut last = None;
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        last = quantile(&batches, share).map(|batch| batch as f64 / f64::from(BATCH));
        if let Some(read) = last {
            figures.push(format!("read_{phase}_{name}_ns"), read);
        }
    }
    last
}
