//! The one thread that compacts a pool.

use crate::ids::as_index;
use zs_sync::{AtomicU32, Ordering};

/// The word of a pool's compactors: whether one is at work, and with which step the next begins.
#[derive(Debug, Default)]
pub(crate) struct Compactor(AtomicU32);

const WORKING: u32 = 1 << 31;

/// The one that works; ends with the value.
pub(crate) struct Worker<'a> {
    compactor: &'a Compactor,
    /// The step that the next worker begins with.
    pub(crate) step: usize,
}

impl Compactor {
    /// Begins the work, unless another thread is at it.
    pub(crate) fn begin(&self) -> Option<Worker<'_>> {
        // Acquire pairs with the Release of the last worker's end.
        let before = self.0.fetch_or(WORKING, Ordering::Acquire);
        // Made only if this one works: its end says that nobody does.
        (before & WORKING == 0).then(|| Worker {
            compactor: self,
            step: as_index(before),
        })
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `begin`.
        self.compactor.0.swap(self.step as u32, Ordering::Release);
    }
}
