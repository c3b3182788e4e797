//! A backing that keeps a list of what it was asked.

use crate::short_lock::short_lock;
use core::ptr::NonNull;
use std::sync::{Arc, Mutex};
use zs_mm::{Advice, Backing, BackingError, RegionKind, ZoneKind, ZoneRefusal};

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

    fn add(&self, call: Recorded) {
        short_lock(&self.0).push(call);
    }
}

/// A test tool: passes every call on to another backing and keeps a list of them.
#[derive(Debug)]
pub struct RecordingBacking<B> {
    inner: B,
    recording: Recording,
}

impl<B: Backing> RecordingBacking<B> {
    /// Wraps a backing; the list is empty.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            recording: Recording::default(),
        }
    }

    /// The list, to be kept when the backing goes into an arena.
    pub fn recording(&self) -> Recording {
        self.recording.clone()
    }
}

// SAFETY: every promise is the wrapped backing's; writing a list changes nothing.
unsafe impl<B: Backing> Backing for RecordingBacking<B> {
    fn granule(&self) -> usize {
        self.inner.granule()
    }

    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        let region = self.inner.reserve(kind, len, align)?;
        let place = region.addr().get();
        self.recording.add(Recorded::Reserve { kind, place, len });
        Ok(region)
    }

    unsafe fn place_zone(
        &self,
        zone: NonNull<u8>,
        len: usize,
        kind: ZoneKind,
        node: Option<u32>,
    ) -> Result<(), ZoneRefusal> {
        // SAFETY: the contract is the same.
        unsafe { self.inner.place_zone(zone, len, kind, node) }?;
        let place = zone.addr().get();
        self.recording.add(Recorded::PlaceZone {
            place,
            len,
            kind,
            node,
        });
        Ok(())
    }

    unsafe fn release(&self, kind: RegionKind, region: NonNull<u8>, len: usize) {
        let place = region.addr().get();
        self.recording.add(Recorded::Release { kind, place, len });
        // SAFETY: the contract is the same.
        unsafe { self.inner.release(kind, region, len) };
    }

    unsafe fn commit(
        &self,
        kind: RegionKind,
        range: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: the contract is the same.
        unsafe { self.inner.commit(kind, range, len) }?;
        let place = range.addr().get();
        self.recording.add(Recorded::Commit { kind, place, len });
        Ok(())
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        range: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: the contract is the same.
        unsafe { self.inner.decommit(kind, range, len) }?;
        let place = range.addr().get();
        self.recording.add(Recorded::Decommit { kind, place, len });
        Ok(())
    }

    unsafe fn advise(&self, block: NonNull<u8>, len: usize, advice: Advice) {
        let place = block.addr().get();
        self.recording.add(Recorded::Advise { place, len, advice });
        // SAFETY: the contract is the same.
        unsafe { self.inner.advise(block, len, advice) };
    }
}
