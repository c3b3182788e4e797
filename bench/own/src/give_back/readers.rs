//! Threads that read random live objects in a closed loop, in idle and busy windows that alternate.
//!
//! # Locking
//!
//! None: the window is a number that changes, and a read counts if it was the same before and
//! after.

use super::pool::{PAGE, Pool};
use crate::figures::Figures;
use crate::numbers::{XorShift32, quantile, timer_cost};
use anyhow::{Result, bail};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zsmalloc::Handle;

/// Pairs of windows, at least; more until so many reads came within busy ones.
const ROUNDS: u64 = 10;
const ENOUGH: u64 = 1000;
/// Pairs of windows at most: a machine on which readers never run beside a compaction.
const MOST_ROUNDS: u64 = 1000;
/// How long an idle window lasts: about as long as the compaction of half of 512 MiB.
const IDLE: Duration = Duration::from_millis(30);
/// Reads of each thread that there is room for, of either kind.
const MOST: usize = 1 << 20;

/// What a window is, in its number's last two bits: not counted, idle, busy.
const KINDS: u64 = 4;
const IDLE_KIND: u64 = 1;
const BUSY_KIND: u64 = 2;
/// The number with which all ends.
const END: u64 = u64::MAX;

/// An object that stays live, and the sum of its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    pub(super) handle: Handle,
    pub(super) sum: u64,
}

/// The sum of an object's bytes, each times its place: other bytes, or the same elsewhere, make
/// another.
pub(super) fn sum_of(bytes: &[u8]) -> u64 {
    let terms = bytes.iter().zip(1..);
    terms.fold(0, |sum, (&byte, at)| sum + (u64::from(byte) + 1) * at)
}

/// The times of one thread's reads, in nanoseconds.
#[derive(Default)]
struct Times {
    idle: Vec<u32>,
    busy: Vec<u32>,
}

struct Reader<'a> {
    pool: &'a Pool,
    live: &'a [Live],
    numbers: XorShift32,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn run(&mut self, windows: &Windows) -> Result<Times> {
        let window = &windows.number;
        let mut times = Times::default();
        times.idle.reserve_exact(MOST);
        times.busy.reserve_exact(MOST);
        loop {
            let object = self.live[self.numbers.below(self.live.len() as u32) as usize];
            // Acquire pairs with the Release in `Windows::enter`, though nothing but the count
            // follows from it.
            let before = window.load(Ordering::Acquire);
            let start = Instant::now();
            let len = self.pool.read_into(object.handle, &mut self.buffer)?;
            let took = start.elapsed().as_nanos() as u32;
            let after = window.load(Ordering::Acquire);
            if sum_of(&self.buffer[..len]) != object.sum {
                bail!("an object came back with other bytes while others moved");
            }
            if after == END {
                return Ok(times);
            }
            let counted = match before % KINDS {
                IDLE_KIND => &mut times.idle,
                BUSY_KIND => &mut times.busy,
                _ => continue,
            };
            if before == after && counted.len() < MOST {
                counted.push(took);
                let is_busy = u64::from(before % KINDS == BUSY_KIND);
                windows.busy_reads.fetch_add(is_busy, Ordering::Relaxed);
            }
        }
    }
}

/// The window at hand, and how many reads were counted in busy ones.
#[derive(Default)]
pub(super) struct Windows {
    number: AtomicU64,
    busy_reads: AtomicU64,
    rounds: AtomicU64,
}

impl Windows {
    fn enter(&self, round: u64, kind: u64) {
        self.number.store(round * KINDS + kind, Ordering::Release);
    }

    /// An idle window, then `prepare` in no window, then `work` in a busy one; and again, until
    /// there are enough reads.
    pub(super) fn alternate(
        &self,
        mut prepare: impl FnMut() -> Result<()>,
        mut work: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        for round in 0..MOST_ROUNDS {
            // Relaxed: a count.
            if round >= ROUNDS && self.busy_reads.load(Ordering::Relaxed) >= ENOUGH {
                return Ok(());
            }
            self.enter(round, IDLE_KIND);
            // The window is what is measured, so it has to last.
            thread::sleep(IDLE);
            self.enter(round, 0);
            prepare()?;
            self.enter(round, BUSY_KIND);
            let worked = work();
            self.enter(round, 0);
            worked?;
            self.rounds.store(round + 1, Ordering::Relaxed);
        }
        bail!("{MOST_ROUNDS} compactions, and fewer than {ENOUGH} reads beside them");
    }

    /// How many pairs of windows there were.
    pub(super) fn rounds(&self) -> f64 {
        // Relaxed: the thread that counted asks.
        self.rounds.load(Ordering::Relaxed) as f64
    }
}

/// Has `count` threads read while `rounds` goes through windows; returns the times of reads in
/// either kind.
pub(super) fn during(
    pool: &Pool,
    live: &[Live],
    count: u32,
    rounds: impl FnOnce(&Windows) -> Result<()>,
) -> Result<Figures> {
    let windows = Windows::default();
    let (times, done) = thread::scope(|scope| {
        let spawn = |number| {
            let mut reader = Reader {
                pool,
                live,
                numbers: XorShift32::new(number + 1),
                buffer: vec![0; PAGE.bytes()],
            };
            let windows = &windows;
            scope.spawn(move || reader.run(windows))
        };
        let readers: Vec<_> = (0..count).map(spawn).collect();
        let done = rounds(&windows);
        windows.number.store(END, Ordering::Release);
        let times = readers.into_iter().map(|reader| match reader.join() {
            Ok(times) => times,
            Err(_) => bail!("a reader panicked"),
        });
        // All are joined, whatever the first one says.
        (times.collect::<Vec<_>>(), done)
    });
    done?;
    let times = times.into_iter().collect::<Result<Vec<_>>>()?;
    let cost = timer_cost(|| Instant::now().elapsed());
    let mut figures = Figures::default();
    figures.push("windows_of_either_kind", windows.rounds());
    let of = |which: fn(&Times) -> &Vec<u32>| times.iter().flat_map(which).copied();
    let idle = quantiles(&mut figures, "idle", cost, of(|times| &times.idle));
    let busy = quantiles(&mut figures, "moving", cost, of(|times| &times.busy));
    if let (Some(idle), Some(busy)) = (idle, busy) {
        figures.push("read_moving_over_idle_p99", busy / idle);
    }
    Ok(figures)
}

/// Adds the figures of one kind of window; returns the 99 % quantile.
fn quantiles(
    figures: &mut Figures,
    kind: &str,
    cost: u64,
    reads: impl Iterator<Item = u32>,
) -> Option<f64> {
    let mut reads: Vec<u64> = reads
        .map(|ns| u64::from(ns).saturating_sub(cost).max(1))
        .collect();
    reads.sort_unstable();
    let rounds = figures.get("windows_of_either_kind")?;
    figures.push(
        format!("reads_{kind}_per_window"),
        reads.len() as f64 / rounds,
    );
    let mut of = |name, share| {
        let ns = quantile(&reads, share)? as f64;
        figures.push(format!("read_{kind}_{name}_ns"), ns);
        Some(ns)
    };
    of("p50", 0.5)?;
    of("p99", 0.99)
}

#[cfg(test)]
mod tests {
    use super::sum_of;

    #[test]
    fn other_bytes_have_another_sum() {
        assert_ne!(sum_of(&[1, 2]), sum_of(&[2, 1]));
        assert_ne!(sum_of(&[0]), sum_of(&[0, 0]));
        assert_ne!(sum_of(&[3; 100]), sum_of(&[3; 99]));
    }
}
