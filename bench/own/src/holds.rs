//! How long locks are held, in CPU time of the thread that holds them.
//!
//! hook of `zs-sync` -> recorder of this thread -> (rank, nanoseconds) -> quantiles
//!
//! CPU time, so that a thread that is preempted with a lock held is not taken for a slow one. Every
//! hold is kept, in memory taken beforehand: quantiles are exact, and nothing is allocated under a
//! lock.

use crate::machine::thread_cpu;
use crate::numbers::{quantile, timer_cost};
use anyhow::{Result, bail};
use std::cell::RefCell;
use std::time::Duration;
use zs_sync::{HoldEvent, LockName, set_hold_hook};

/// Holds that there is room for.
const MOST: usize = 1 << 22;

const RANKS: [(LockName, &str); 5] = [
    (LockName::Class, "class"),
    (LockName::FrameCache, "frame_cache"),
    (LockName::Zone, "zone"),
    (LockName::Records, "records"),
    (LockName::Handles, "handles"),
];

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

struct Recorder {
    begun: Duration,
    holds: Vec<(LockName, u32)>,
}

/// The holds of one rank, in nanoseconds; all 0 if there were none.
#[derive(Debug)]
pub(crate) struct Holds {
    pub(crate) rank: &'static str,
    pub(crate) count: usize,
    pub(crate) p50: u32,
    pub(crate) p99: u32,
    pub(crate) p999: u32,
    pub(crate) max: u32,
}

fn hook(rank: LockName, event: HoldEvent) {
    RECORDER.with_borrow_mut(|recorder| {
        let Some(recorder) = recorder else { return };
        match event {
            HoldEvent::Taken => recorder.begun = thread_cpu(),
            HoldEvent::Releasing => {
                let held = thread_cpu().saturating_sub(recorder.begun).as_nanos();
                // Beyond the room there is, a hold is missed, and `record` says so.
                if recorder.holds.len() < recorder.holds.capacity() {
                    recorder
                        .holds
                        .push((rank, held.min(u32::MAX.into()) as u32));
                }
            }
        }
    });
}

/// Runs `work` on this thread; returns how long it held locks, the clock's own cost taken off.
pub(crate) fn record<T>(work: impl FnOnce() -> T) -> Result<(T, Vec<Holds>)> {
    // Set by an earlier call, it is the same one.
    let _ = set_hold_hook(hook);
    let cost = timer_cost(|| {
        let start = thread_cpu();
        thread_cpu().saturating_sub(start)
    });
    // Written to, so that no page fault falls into a hold.
    let mut holds = vec![(LockName::Class, 1); MOST];
    holds.clear();
    let begun = Duration::ZERO;
    RECORDER.set(Some(Recorder { begun, holds }));
    let done = work();
    let holds = RECORDER.take().map_or(Vec::new(), |all| all.holds);
    if holds.len() == MOST {
        bail!("more than {MOST} holds of locks: there is no room for all");
    }
    let of_rank = |(rank, name)| {
        let of_it = holds.iter().filter(|hold| hold.0 == rank);
        let mut times: Vec<u32> = of_it
            .map(|hold| hold.1.saturating_sub(cost as u32))
            .collect();
        times.sort_unstable();
        summary(name, &times)
    };
    let summaries = RANKS.into_iter().map(of_rank).collect();
    Ok((done, summaries))
}

fn summary(rank: &'static str, sorted: &[u32]) -> Holds {
    let at = |share| quantile(sorted, share).unwrap_or_default();
    Holds {
        rank,
        count: sorted.len(),
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zs_sync::{Mutex, SpinHost};

    #[test]
    fn a_hold_that_works_is_seen() {
        let short = Mutex::new(LockName::Zone, ());
        let long = Mutex::new(LockName::Class, 0_u64);
        let (sum, holds) = record(|| {
            for _ in 0..100 {
                drop(short.lock(&SpinHost));
            }
            let mut sum = long.lock(&SpinHost);
            let start = thread_cpu();
            while thread_cpu().saturating_sub(start) < Duration::from_millis(1) {
                *sum += 1;
            }
            *sum
        })
        .unwrap();
        assert!(sum > 0);
        let counts: Vec<usize> = holds.iter().map(|rank| rank.count).collect();
        assert_eq!(counts, [1, 0, 100, 0, 0]);
        // The thread spends at least that much between the two readings, whatever else goes on.
        assert!(holds[0].max >= 900_000, "{:?}", holds[0]);
    }
}
