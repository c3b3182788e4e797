//! Threads that sleep until a block is unlocked.
//!
//! block -> one of 64 buckets -> (turn, sleepers). Who unlocks a block wakes all of its bucket;
//! those that wait for another block of it look, and sleep again.
//!
//! # Locking
//!
//! None: `zs_sync`'s parking, as a futex has it.

use crate::ids::BlockIndex;
use crate::ids::as_index;
use zs_sync::{AtomicU32, Host, Ordering, fence};

/// Sleeping places; which blocks share one hardly matters.
const BUCKETS: usize = if cfg!(zs_loom) { 1 } else { 64 };

/// The sleeping places of a table of blocks.
#[derive(Debug)]
pub(crate) struct Waiters(Box<[Bucket]>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// The number of times that sleepers were woken.
    turn: AtomicU32,
    sleepers: AtomicU32,
}

impl Default for Waiters {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| Bucket::default()).collect())
    }
}

impl Waiters {
    fn of(&self, block: BlockIndex) -> &Bucket {
        &self.0[as_index(block.number()) % BUCKETS]
    }

    /// Sleeps until the block is unlocked; may return early.
    pub(crate) fn sleep(&self, host: &dyn Host, block: BlockIndex, is_locked: impl Fn() -> bool) {
        let bucket = self.of(block);
        // Relaxed: the fence pairs with the one in `wake`: either this thread finds the block
        // unlocked, or who unlocks it finds the sleeper.
        bucket.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Acquire pairs with the Release in `wake`: who finds the next turn finds the block
        // unlocked. Who finds this one does not sleep past its end.
        let turn = bucket.turn.load(Ordering::Acquire);
        if is_locked() {
            host.park(&bucket.turn, turn);
        }
        bucket.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes who sleeps until this block, which the caller has just unlocked, is.
    pub(crate) fn wake(&self, host: &dyn Host, block: BlockIndex) {
        let bucket = self.of(block);
        // Pairs with the one in `sleep`.
        fence(Ordering::SeqCst);
        let sleepers = bucket.sleepers.load(Ordering::Relaxed);
        if sleepers > 0 {
            bucket.turn.fetch_add(1, Ordering::Release);
            // Each call wakes one.
            for _ in 0..sleepers {
                host.unpark(&bucket.turn);
            }
        }
    }

    /// Threads that sleep, or are about to, in the bucket of a block.
    #[cfg(test)]
    pub(crate) fn sleepers(&self, block: BlockIndex) -> u32 {
        self.of(block).sleepers.load(Ordering::SeqCst)
    }
}
