//! The hooks of the core: CPU, clock, parking.

use rustix::time::ClockId;
use zs_sync::{AtomicU32, Host};

/// The host of an ordinary Linux process.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsHost;

/// The [`OsHost`] that arenas refer to.
pub static HOST: OsHost = OsHost;

impl Host for OsHost {
    /// Returns the current CPU by `sched_getcpu`. It is read from memory that the kernel updates
    /// (rseq or the vdso), without a system call.
    #[inline]
    fn cpu(&self) -> usize {
        // SAFETY: the call takes nothing and only reads.
        let cpu = unsafe { libc::sched_getcpu() };
        usize::try_from(cpu).unwrap_or(0)
    }

    /// Returns the monotonic clock in nanoseconds since boot, without time asleep.
    #[inline]
    fn now_ns(&self) -> u64 {
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    /// Sleeps on a futex that is private to the process.
    #[cfg(not(any(zs_loom, zs_schedule)))]
    fn park(&self, word: &AtomicU32, expected: u32) {
        use rustix::thread::futex;
        // A changed value or a signal ends the wait. It may also end early, for any reason.
        let _ = futex::wait(word, futex::Flags::PRIVATE, expected, None);
    }

    /// Wakes one thread that sleeps on the futex.
    #[cfg(not(any(zs_loom, zs_schedule)))]
    fn unpark(&self, word: &AtomicU32) {
        use rustix::thread::futex;
        // It cannot fail for a valid aligned address. Waking no thread is no failure.
        let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
    }

    /// Parks by [`zs_sync::SpinHost`]: loom's words are no memory to sleep on, and a seeded
    /// schedule has its own way to sleep.
    #[cfg(any(zs_loom, zs_schedule))]
    fn park(&self, word: &AtomicU32, expected: u32) {
        zs_sync::SpinHost.park(word, expected);
    }

    /// Wakes by [`zs_sync::SpinHost`], as `park` does.
    #[cfg(any(zs_loom, zs_schedule))]
    fn unpark(&self, word: &AtomicU32) {
        zs_sync::SpinHost.unpark(word);
    }

    /// Says whether frames may move: not while a forked child shares the memory of this process,
    /// until it has exited or executed another program. Costs a load, and one system call for each
    /// such child.
    fn may_move(&self) -> bool {
        crate::fork::is_unshared()
    }

    fn yield_now(&self) {
        #[cfg(not(any(zs_loom, zs_schedule)))]
        rustix::thread::sched_yield();
        #[cfg(any(zs_loom, zs_schedule))]
        zs_sync::SpinHost.yield_now();
    }
}

#[cfg(all(test, not(any(zs_loom, zs_schedule))))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use zs_sync::{Ordering, RawLock};

    #[test]
    fn the_clock_goes_forward_at_the_pace_of_std() {
        let (mine, theirs) = (HOST.now_ns(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let theirs = u64::try_from(theirs.elapsed().as_nanos()).expect("a short time");
        let mine = HOST.now_ns() - mine;
        assert!(mine >= theirs, "{mine} against {theirs}");
        assert!(mine >= 20_000_000);
    }

    #[test]
    fn the_cpu_is_one_of_those_there_are() {
        // SAFETY: `sysconf` only reads.
        let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
        assert!((HOST.cpu() as i64) < cpus);
    }

    #[test]
    fn a_changed_word_does_not_park() {
        // Would hang if it did.
        HOST.park(&AtomicU32::new(1), 0);
    }

    #[test]
    fn unpark_wakes_a_parked_thread() {
        let word = Arc::new(AtomicU32::new(0));
        let sleeper = std::thread::spawn({
            let word = Arc::clone(&word);
            move || {
                while word.load(Ordering::Acquire) == 0 {
                    HOST.park(&word, 0);
                }
            }
        });
        std::thread::sleep(Duration::from_millis(10));
        word.store(1, Ordering::Release);
        HOST.unpark(&word);
        sleeper.join().expect("the sleeper woke");
    }

    #[test]
    fn a_contended_lock_loses_nobody() {
        let shared = Arc::new((RawLock::default(), AtomicU32::new(0)));
        let worker = || {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for _ in 0..2000 {
                    shared.0.lock(&HOST);
                    let count = shared.1.load(Ordering::Relaxed);
                    HOST.yield_now();
                    shared.1.store(count + 1, Ordering::Relaxed);
                    shared.0.unlock(&HOST);
                }
            })
        };
        let workers: Vec<_> = (0..4).map(|_| worker()).collect();
        for worker in workers {
            worker.join().expect("no panic");
        }
        assert_eq!(shared.1.load(Ordering::Relaxed), 8000);
    }
}
