//! A host whose clock and CPU are set by hand.

use crate::host::HOST;
use crate::short_lock::short_lock;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Mutex;
use zs_sync::{AtomicU32, Host};

/// Stands for the real CPU: none was set.
const REAL_CPU: usize = usize::MAX;

/// All leaked hosts, so that a leak detector finds them reachable.
static LEAKED: Mutex<Vec<&'static TestHost>> = Mutex::new(Vec::new());

/// A host for tests. Its clock stands still until it is set, its CPU can be chosen, it counts
/// yields, and it parks like [`OsHost`](crate::OsHost).
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

    /// Makes a host that lives as long as the process, as an arena needs it.
    pub fn leak(now_ns: u64) -> &'static Self {
        let host: &'static Self = Box::leak(Box::new(Self::new(now_ns)));
        short_lock(&LEAKED).push(host);
        host
    }

    /// Sets the clock, in nanoseconds.
    pub fn set_now_ns(&self, now_ns: u64) {
        self.now_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Moves the clock forward by `by` nanoseconds.
    pub fn advance_ns(&self, by: u64) {
        self.now_ns.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets the CPU that [`Host::cpu`] returns on every thread.
    pub fn set_cpu(&self, cpu: usize) {
        self.cpu.store(cpu, Ordering::Relaxed);
    }

    /// Returns the number of yields: a thread yields while it waits for a copy or for a page of a
    /// table.
    pub fn yields(&self) -> u64 {
        self.yields.load(Ordering::Relaxed)
    }
}

/// Returns the CPU of the calling thread.
#[cfg(not(zs_schedule))]
fn real_cpu() -> usize {
    HOST.cpu()
}

/// Returns a CPU that is fixed for each thread: a seeded schedule must not depend on the real one.
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
