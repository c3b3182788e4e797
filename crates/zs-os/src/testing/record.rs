//! A backing that records its calls.

use super::{Recorded, WatchedBacking, Watcher};
use crate::short_lock::short_lock;
use std::sync::{Arc, Mutex};
use zs_mm::Backing;

/// The list of a [`RecordingBacking`]. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<Recorded>>>);

impl Recording {
    /// Takes the calls since the last time, in order.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut short_lock(&self.0))
    }
}

/// A test tool that forwards each call to another backing and keeps a list of them.
pub type RecordingBacking<B> = WatchedBacking<B, Recording>;

impl<B: Backing> RecordingBacking<B> {
    /// Wraps a backing, with an empty list.
    pub fn new(inner: B) -> Self {
        Self::watched(inner, Recording::default())
    }

    /// Returns the list, to keep when the backing is moved into an arena.
    pub fn recording(&self) -> Recording {
        self.watcher().clone()
    }
}

impl Watcher for Recording {
    fn done(&self, call: Recorded) {
        short_lock(&self.0).push(call);
    }
}
