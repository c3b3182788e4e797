//! A backing that keeps a list of what it was asked.

use super::{WatchedBacking, Watcher};
use crate::short_lock::short_lock;
use std::sync::{Arc, Mutex};
use zs_mm::{Advice, Backing, RegionKind, ZoneKind};

/// One call to a [`RecordingBacking`], with its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// A reservation that succeeded.
    Reserve {
        /// What the region is for.
        kind: RegionKind,
        /// Its address.
        place: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A zone that was made.
    PlaceZone {
        /// Its address.
        place: usize,
        /// Its length in bytes.
        len: usize,
        /// What it was to be made of.
        kind: ZoneKind,
        /// Where it was to be.
        node: Option<u32>,
    },
    /// A region was taken back.
    Release {
        /// What the region was for.
        kind: RegionKind,
        /// Its address.
        place: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A commit that succeeded.
    Commit {
        /// What the region is for.
        kind: RegionKind,
        /// The address of the range.
        place: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A decommit that succeeded.
    Decommit {
        /// What the region is for.
        kind: RegionKind,
        /// The address of the range.
        place: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// An advice.
    Advise {
        /// The address of the pageblock.
        place: usize,
        /// Its length in bytes.
        len: usize,
        /// How it may be mapped.
        advice: Advice,
    },
}

/// The list of a [`RecordingBacking`]; clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<Recorded>>>);

impl Recording {
    /// Takes what was recorded since the last time, in order.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut short_lock(&self.0))
    }
}

/// A test tool: passes every call on to another backing and keeps a list of them.
pub type RecordingBacking<B> = WatchedBacking<B, Recording>;

impl<B: Backing> RecordingBacking<B> {
    /// Wraps a backing; the list is empty.
    pub fn new(inner: B) -> Self {
        Self::watched(inner, Recording::default())
    }

    /// Returns the list, to be kept when the backing goes into an arena.
    pub fn recording(&self) -> Recording {
        self.watcher().clone()
    }
}

impl Watcher for Recording {
    fn done(&self, call: Recorded) {
        short_lock(&self.0).push(call);
    }
}
