//! A backing that faults when memory is touched that is not committed.

use crate::map;
use crate::page_size::os_page_size;
use core::ptr::NonNull;
use rustix::mm::{MprotectFlags, ProtFlags};
use zs_mm::{Advice, Backing, BackingError, RegionKind, ZoneKind, ZoneRefusal};

/// A test tool: a backing whose uncommitted payload cannot be read, and whose uncommitted tables
/// cannot be written. A program that does so dies by a segmentation fault at that instruction.
///
/// Use it for small arenas: each change of protection may cut a mapping in two, and a process may
/// have some 65 000 mappings.
#[derive(Debug)]
pub struct StrictBacking {
    granule: usize,
}

impl Default for StrictBacking {
    fn default() -> Self {
        Self::new()
    }
}

impl StrictBacking {
    /// Makes a backing whose granule is the page of the operating system.
    pub fn new() -> Self {
        Self::with_granule(0)
    }

    /// Makes a backing with a granule of `granule` bytes, but of one page of the operating system
    /// at least. A number that is no power of two is not changed: the arena refuses it.
    pub fn with_granule(granule: usize) -> Self {
        Self {
            granule: granule.max(os_page_size()),
        }
    }
}

fn reserved_protection(kind: RegionKind) -> (ProtFlags, MprotectFlags) {
    match kind {
        RegionKind::Payload => (ProtFlags::empty(), MprotectFlags::empty()),
        RegionKind::Table => (ProtFlags::READ, MprotectFlags::READ),
    }
}

/// Changes the protection of a range.
///
/// # Safety
/// The range is a region's, and nobody touches it in a way that its new protection forbids.
unsafe fn protect(
    base: NonNull<u8>,
    len: usize,
    protection: MprotectFlags,
) -> Result<(), BackingError> {
    // SAFETY: by contract.
    let outcome = unsafe { rustix::mm::mprotect(base.as_ptr().cast(), len, protection) };
    outcome.map_err(|_| BackingError)
}

// SAFETY: 1. `map::reserve` makes a mapping of its own, which only `release` unmaps. 2. A commit
// makes the range readable and writable; anonymous memory is zero until written, and again after
// `MADV_DONTNEED`. 3. Tables are always readable. 4. A change of protection fails for want of
// mappings, before it has changed anything but where they are cut.
unsafe impl Backing for StrictBacking {
    fn granule(&self) -> usize {
        self.granule
    }

    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        let base = map::reserve(reserved_protection(kind).0, len, align)?;
        // SAFETY: the region was just made, and is ours.
        unsafe { map::advise_region(base, len) };
        Ok(base)
    }

    /// Accepts every kind of zone, and makes them all of the same memory. That is enough for tests
    /// of tiers.
    unsafe fn place_zone(
        &self,
        _base: NonNull<u8>,
        _len: usize,
        _kind: ZoneKind,
        _node: Option<u32>,
    ) -> Result<(), ZoneRefusal> {
        Ok(())
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
        // SAFETY: by contract whole granules of a region; nothing is forbidden that was allowed.
        unsafe { protect(base, len, MprotectFlags::READ | MprotectFlags::WRITE) }
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: by contract nobody writes to the range meanwhile, nor reads it if it is payload.
        unsafe { protect(base, len, reserved_protection(kind).1) }?;
        // SAFETY: by contract whole granules of a region, whose contents may go.
        let outcome = unsafe { map::discard(base, len) };
        if outcome.is_err() {
            // SAFETY: as for `commit`; the range stays committed. Undoing a change that was
            // possible needs no new mapping.
            let _ = unsafe { protect(base, len, MprotectFlags::READ | MprotectFlags::WRITE) };
        }
        outcome
    }

    unsafe fn advise(&self, base: NonNull<u8>, len: usize, advice: Advice) {
        // SAFETY: by contract a pageblock of a region.
        unsafe { map::advise_block(base, len, advice) };
    }
}
