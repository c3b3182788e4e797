//! The lock itself: spin a little, then park.

use crate::{AtomicU32, Host, Ordering, Peek};

const UNLOCKED: u32 = 0;
const LOCKED: u32 = 1;
/// Locked, and somebody may be parked: the holder must wake one.
const CONTENDED: u32 = 2;

/// Critical sections here are tens of nanoseconds: a short spin mostly avoids the system call.
const SPINS: u32 = if cfg!(zs_loom) {
    0
} else if cfg!(zs_schedule) {
    // Each is a point at which the holder may go on.
    2
} else {
    100
};

/// A mutual exclusion lock of four bytes, without the value it guards.
///
/// Values of the word: 0 unlocked, 1 locked, 2 locked and perhaps waited for (the three-state
/// futex lock of Ulrich Drepper, "Futexes Are Tricky").
#[derive(Debug, Default)]
pub struct RawLock(AtomicU32);

impl RawLock {
    /// Takes the lock; blocks (spins, then parks through `host`) while another thread holds it.
    #[inline]
    pub fn lock(&self, host: &dyn Host) {
        if !self.try_lock() {
            self.lock_contended(host);
        }
    }

    /// Takes the lock if it is free; never blocks.
    #[inline]
    pub fn try_lock(&self) -> bool {
        // Acquire pairs with the Release in `unlock`.
        self.0
            .compare_exchange(UNLOCKED, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Gives the lock back. Only the thread that took it may call this.
    #[inline]
    pub fn unlock(&self, host: &dyn Host) {
        // Release pairs with the Acquire in `try_lock` and `lock_contended`.
        if self.0.swap(UNLOCKED, Ordering::Release) == CONTENDED {
            host.unpark(&self.0);
        }
    }

    #[cold]
    fn lock_contended(&self, host: &dyn Host) {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            if self.0.peek(Ordering::Relaxed) == UNLOCKED && self.try_lock() {
                return;
            }
        }
        // Whoever gets the lock here leaves CONTENDED behind: it cannot know that nobody else is
        // parked, and a wake-up too many costs less than one too few.
        // Acquire pairs with the Release in `unlock`.
        while self.0.swap(CONTENDED, Ordering::Acquire) != UNLOCKED {
            host.park(&self.0, CONTENDED);
        }
    }
}
