//! A backing of private anonymous memory.

use crate::page_size::os_page_size;
use crate::{fork, map};
use core::ptr::NonNull;
use rustix::mm::ProtFlags;
use zs_mm::{Advice, Backing, BackingError, RegionKind};

/// A backing of private anonymous memory, for payload and tables.
///
/// Memory is reserved without swap reservation, left out of core dumps, and kept from huge pages
/// until the arena advises otherwise. It is committed by `MADV_POPULATE_WRITE`, so that a lack of
/// memory is an error. A kernel before 5.14 lacks that call: there each page is touched, and a lack
/// of memory is no error. In both cases a memory cgroup at its limit may call its out-of-memory
/// killer, so choose the arena's limit by [`memory_available`](crate::memory_available). Memory is
/// given back by `MADV_DONTNEED`.
///
/// After a fork the child has a copy, which it may read. Moves in the parent pause while the child
/// has it. Where overcommit is forbidden (`vm.overcommit_memory` is 2), a reservation counts in
/// full.
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
        let base = map::reserve(protection, len, align)?;
        // SAFETY: the region was just made, and is ours.
        unsafe { map::advise_region(base, len) };
        Ok(base)
    }

    unsafe fn release(&self, _kind: RegionKind, base: NonNull<u8>, len: usize) {
        // SAFETY: by contract the whole of one region, which nobody uses any more.
        unsafe { map::release(base, len) };
    }

    unsafe fn commit(
        &self,
        _kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: by contract whole granules (pages) of a region, which is readable and writable.
        unsafe { map::populate(base, len) }
    }

    unsafe fn decommit(
        &self,
        _kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: by contract whole granules (pages) of a region, whose contents may go.
        unsafe { map::discard(base, len) }
    }

    unsafe fn decommit_runs(&self, _kind: RegionKind, runs: &[(NonNull<u8>, usize)]) -> usize {
        // SAFETY: by contract whole granules (pages) of a region, whose contents may go.
        unsafe { map::discard_runs(runs) }
    }

    fn process(&self) -> u64 {
        fork::process()
    }

    unsafe fn advise(&self, base: NonNull<u8>, len: usize, advice: Advice) {
        // SAFETY: by contract a pageblock of a region.
        unsafe { map::advise_block(base, len, advice) };
    }
}
