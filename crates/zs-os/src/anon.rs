//! A backing of private anonymous memory.

use crate::page::os_page_size;
use crate::{fork, map};
use core::ptr::NonNull;
use rustix::mm::ProtFlags;
use zs_mm::{Advice, Backing, BackingError, RegionKind};

/// Private anonymous memory: payload and tables alike.
///
/// Reserved without swap reservation, left out of core dumps, and kept from huge pages until the
/// arena advises otherwise. Committed by `MADV_POPULATE_WRITE`, so that a lack of memory is an
/// error; on a kernel before 5.14 by touching each page, where it is not. A memory cgroup at its
/// limit may call its out-of-memory killer in either case: choose the arena's limit by
/// [`memory_available`](crate::memory_available). Given back by `MADV_DONTNEED`.
///
/// After a fork the child has a copy, which it may read; moves pause in the parent while it has.
/// Where overcommit is forbidden (`vm.overcommit_memory` 2), reserving counts in full.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnonBacking;

impl AnonBacking {
    /// Makes a backing of anonymous memory; its granule is the page of the operating system.
    pub const fn new() -> Self {
        Self
    }
}

// SAFETY: 1. `map::reserve` makes a mapping of its own, which only `release` unmaps. 2. Anonymous
// memory is readable and writable from the start and zero until written; populating changes no
// contents, and `MADV_DONTNEED` drops the pages, so that they read as zeros again. 3. Reading a
// page without memory shows the zero page. 4. A failed populate may leave memory behind, but no
// changed contents; a failed `MADV_DONTNEED` leaves the contents undefined, as `decommit` may.
unsafe impl Backing for AnonBacking {
    fn granule(&self) -> usize {
        os_page_size()
    }

    fn reserve(
        &self,
        _kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        fork::watch();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let place = map::reserve(protection, len, align)?;
        // SAFETY: the region was just made, and is ours.
        unsafe { map::advise_region(place, len) };
        Ok(place)
    }

    unsafe fn release(&self, _kind: RegionKind, place: NonNull<u8>, len: usize) {
        // SAFETY: by contract the whole of one region, which nobody uses any more.
        unsafe { map::release(place, len) };
    }

    unsafe fn commit(
        &self,
        _kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: by contract whole granules (pages) of a region, which is readable and writable.
        unsafe { map::populate(place, len) }
    }

    unsafe fn decommit(
        &self,
        _kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: by contract whole granules (pages) of a region, whose contents may go.
        unsafe { map::discard(place, len) }
    }

    unsafe fn decommit_runs(&self, _kind: RegionKind, runs: &[(NonNull<u8>, usize)]) -> usize {
        // SAFETY: by contract whole granules (pages) of a region, whose contents may go.
        unsafe { map::discard_runs(runs) }
    }

    fn process(&self) -> u64 {
        fork::process()
    }

    unsafe fn advise(&self, place: NonNull<u8>, len: usize, advice: Advice) {
        // SAFETY: by contract a pageblock of a region.
        unsafe { map::advise_block(place, len, advice) };
    }
}
