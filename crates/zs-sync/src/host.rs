//! The hooks that the core takes from its host.

use crate::AtomicU32;

/// What an operating system, a kernel or a test lends to the core: a CPU hint, a monotonic clock,
/// and parking.
///
/// The core never allocates, never prints and makes no system call; this and the backing are all
/// that it asks for. `zs-os` has the host for Linux, [`SpinHost`] needs nothing.
pub trait Host: Send + Sync + core::fmt::Debug {
    /// Returns the CPU that the caller runs on, or any number: only speed depends on it.
    fn cpu(&self) -> usize;

    /// Nanoseconds since an arbitrary start; never goes back. A constant 0 switches decay off.
    fn now_ns(&self) -> u64;

    /// Sleeps while `*word == expected`. May return early, for any reason.
    ///
    /// Must not sleep if the value differs at the call; an [`unpark`](Self::unpark) after that
    /// check must end the sleep (the contract of a futex).
    fn park(&self, word: &AtomicU32, expected: u32);

    /// Wakes at least one thread that is parked on `word`, if there is one.
    fn unpark(&self, word: &AtomicU32);

    /// Lets another thread run: whoever waits for a bounded copy calls it after some spinning.
    fn yield_now(&self);

    /// Says whether objects and frames may be moved now: not while a forked child shares the
    /// memory, which each move would double by copy-on-write. Asked before every few moves; always
    /// true where nothing forks.
    fn may_move(&self) -> bool {
        true
    }
}

/// A host that has nothing: one CPU, no clock, spinning for parking.
///
/// For freestanding programs with one thread, and for models: under loom its waits are yields, in a
/// seeded schedule they are the schedule's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpinHost;

impl Host for SpinHost {
    fn cpu(&self) -> usize {
        0
    }

    fn now_ns(&self) -> u64 {
        0
    }

    #[cfg(not(zs_schedule))]
    fn park(&self, _word: &AtomicU32, _expected: u32) {
        self.yield_now();
    }

    #[cfg(not(zs_schedule))]
    fn unpark(&self, _word: &AtomicU32) {}

    #[cfg(zs_schedule)]
    fn park(&self, word: &AtomicU32, expected: u32) {
        crate::schedule::park(word, expected);
    }

    #[cfg(zs_schedule)]
    fn unpark(&self, word: &AtomicU32) {
        crate::schedule::unpark(word);
    }

    fn yield_now(&self) {
        #[cfg(zs_loom)]
        loom::thread::yield_now();
        #[cfg(zs_schedule)]
        crate::schedule::yield_now();
        #[cfg(not(any(zs_loom, zs_schedule)))]
        core::hint::spin_loop();
    }
}
