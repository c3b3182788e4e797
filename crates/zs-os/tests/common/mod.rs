//! A region of a backing, for the tests of backings.

#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::ptr::NonNull;
use zs_mm::{Backing, BackingError, RegionKind, ZoneKind};

/// A region of some granules, released when this is dropped.
pub(crate) struct Region<'a> {
    backing: &'a dyn Backing,
    kind: RegionKind,
    pub(crate) base: NonNull<u8>,
    pub(crate) granule: usize,
    pub(crate) len: usize,
}

impl<'a> Region<'a> {
    pub(crate) fn new(
        backing: &'a dyn Backing,
        kind: RegionKind,
        granules: usize,
        align: usize,
    ) -> Self {
        let granule = backing.granule();
        let len = granules * granule;
        let base = backing.reserve(kind, len, align).expect("address space");
        assert_eq!(base.as_ptr().align_offset(align), 0, "aligned to {align}");
        Self {
            backing,
            kind,
            base,
            granule,
            len,
        }
    }

    /// Makes the whole region a zone of one kind, if it is payload.
    pub(crate) fn of(self, zone: ZoneKind) -> Self {
        if self.kind == RegionKind::Payload {
            // SAFETY: the region was just reserved, and nobody uses it.
            let placed = unsafe { self.backing.place_zone(self.base, self.len, zone, None) };
            placed.expect("a zone of this kind");
        }
        self
    }

    pub(crate) fn at(&self, granule: usize) -> NonNull<u8> {
        assert!(granule * self.granule < self.len);
        // SAFETY: just checked to be inside.
        unsafe { self.base.add(granule * self.granule) }
    }

    pub(crate) fn commit(&self, first: usize, count: usize) -> Result<(), BackingError> {
        // SAFETY: granules of this region and kind.
        unsafe {
            self.backing
                .commit(self.kind, self.at(first), count * self.granule)
        }
    }

    pub(crate) fn decommit(&self, first: usize, count: usize) -> Result<(), BackingError> {
        // SAFETY: granules of this region and kind; tests read and write nothing meanwhile.
        unsafe {
            self.backing
                .decommit(self.kind, self.at(first), count * self.granule)
        }
    }

    /// Returns the first and the last byte of a granule, which is committed or of a table.
    pub(crate) fn ends(&self, granule: usize) -> (u8, u8) {
        // SAFETY: readable as said above.
        let first = unsafe { self.at(granule).read_volatile() };
        // SAFETY: inside the granule.
        let last = unsafe { self.at(granule).add(self.granule - 1) };
        // SAFETY: readable as said above.
        (first, unsafe { last.read_volatile() })
    }

    /// Fills a committed granule.
    pub(crate) fn fill(&self, granule: usize, byte: u8) {
        // SAFETY: committed, so writable.
        unsafe { self.at(granule).write_bytes(byte, self.granule) };
    }
}

impl Drop for Region<'_> {
    fn drop(&mut self) {
        // SAFETY: reserved so, and released here alone.
        unsafe { self.backing.release(self.kind, self.base, self.len) };
    }
}
