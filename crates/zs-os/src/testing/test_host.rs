//! A host whose clock and CPU are set by hand.

use crate::host::HOST;
use crate::short_lock::short_lock;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Mutex;
use zs_sync::{AtomicU32, Host};

/// No CPU was set: the real one counts.
const REAL_CPU: usize = usize::MAX;

/// Every leaked host, so that a leak detector finds them reachable.
static LEAKED: Mutex<Vec<&'static TestHost>> = Mutex::new(Vec::new());

/// A host for tests: a clock that stands still until it is set, a CPU that can be chosen, a count
/// of yields, and the parking of [`OsHost`](crate::OsHost).
#[derive(Debug)]
pub struct TestHost {
    now_ns: AtomicU64,
    cpu: AtomicUsize,
    yields: AtomicU64,
}

impl TestHost {
    /// Makes a host at `now_ns` nanoseconds, on the real CPU.
    pub const fn new(now_ns: u64) -> Self {
        Self {
            now_ns: AtomicU64::new(now_ns),
            cpu: AtomicUsize::new(REAL_CPU),
            yields: AtomicU64::new(0),
        }
    }

    /// Makes a host that lives as long as the process, as an arena asks.
    pub fn leak(now_ns: u64) -> &'static Self {
        let host: &'static Self = Box::leak(Box::new(Self::new(now_ns)));
        short_lock(&LEAKED).push(host);
        host
    }

    /// Sets the clock, in nanoseconds.
    pub fn set_now_ns(&self, now_ns: u64) {
        self.now_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Moves the clock forward by so many nanoseconds.
    pub fn advance_ns(&self, by: u64) {
        self.now_ns.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets the CPU that every thread is told it runs on.
    pub fn set_cpu(&self, cpu: usize) {
        self.cpu.store(cpu, Ordering::Relaxed);
    }

    /// Returns how often a thread let others run, as whoever waits for a copy or a table page does.
    pub fn yields(&self) -> u64 {
        self.yields.load(Ordering::Relaxed)
    }
}

/// Returns the CPU that the caller runs on.
#[cfg(not(zs_schedule))]
fn real_cpu() -> usize {
    HOST.cpu()
}

/// Returns a CPU for each thread: in a seeded schedule nothing follows from where a thread happens
/// to run.
#[cfg(zs_schedule)]
fn real_cpu() -> usize {
    zs_sync::schedule::thread_index().unwrap_or(0)
}

impl Host for TestHost {
    fn cpu(&self) -> usize {
        match self.cpu.load(Ordering::Relaxed) {
            REAL_CPU => real_cpu(),
            cpu => cpu,
        }
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn park(&self, word: &AtomicU32, expected: u32) {
        HOST.park(word, expected);
    }

    fn unpark(&self, word: &AtomicU32) {
        HOST.unpark(word);
    }

    fn yield_now(&self) {
        self.yields.fetch_add(1, Ordering::Relaxed);
        HOST.yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_and_cpu_are_what_was_set_and_yields_count() {
        let host = TestHost::new(5);
        assert_eq!(host.now_ns(), 5);
        host.advance_ns(10);
        assert_eq!(host.now_ns(), 15);
        host.set_now_ns(7);
        assert_eq!(host.now_ns(), 7);
        host.set_cpu(3);
        assert_eq!(host.cpu(), 3);
        assert_eq!(host.yields(), 0);
        host.yield_now();
        assert_eq!(host.yields(), 1);
    }
}
