//! What one thread of a test tells another.

use std::thread;
use zs_sync::{AtomicU32, Ordering};

/// Something that is said once. Not a channel: `ThreadSanitizer` cannot see into std's.
#[derive(Debug, Default)]
pub struct Signal(AtomicU32);

impl Signal {
    /// Says it.
    pub fn raise(&self) {
        // Release pairs with the Acquire in `is_raised`.
        self.0.store(1, Ordering::Release);
    }

    /// Says whether it was said; what came before is then seen.
    pub fn is_raised(&self) -> bool {
        // Acquire pairs with the Release in `raise`.
        self.0.load(Ordering::Acquire) == 1
    }

    /// Lets others run until it is said.
    pub fn wait(&self) {
        while !self.is_raised() {
            thread::yield_now();
        }
    }
}
