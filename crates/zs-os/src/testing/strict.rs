//! A backing that faults at every touch of what is not committed.

use crate::map;
use crate::page::os_page_size;
use core::ptr::NonNull;
use rustix::mm::{MprotectFlags, ProtFlags};
use zs_mm::{Advice, Backing, BackingError, RegionKind, ZoneKind, ZoneRefusal};

/// A test tool: mappings whose uncommitted payload cannot be read, and whose uncommitted tables
/// cannot be written; a program that does so dies by a segmentation fault at the very instruction.
///
/// Each change of protection may cut a mapping in two, of which a process has some 65 000: for
/// small arenas.
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

    /// Makes a backing with a granule of `granule` bytes, raised to a page of the operating system.
    /// A number that is no power of two is passed on as it is: the arena refuses it.
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
    place: NonNull<u8>,
    len: usize,
    protection: MprotectFlags,
) -> Result<(), BackingError> {
    // SAFETY: by contract.
    let outcome = unsafe { rustix::mm::mprotect(place.as_ptr().cast(), len, protection) };
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
        let place = map::reserve(reserved_protection(kind).0, len, align)?;
        // SAFETY: the region was just made, and is ours.
        unsafe { map::advise_region(place, len) };
        Ok(place)
    }

    /// Every zone is made of the same, whatever it is called: tests of an arena's tiers need no
    /// more.
    unsafe fn place_zone(
        &self,
        _place: NonNull<u8>,
        _len: usize,
        _kind: ZoneKind,
        _node: Option<u32>,
    ) -> Result<(), ZoneRefusal> {
        Ok(())
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
        // SAFETY: by contract whole granules of a region; nothing is forbidden that was allowed.
        unsafe { protect(place, len, MprotectFlags::READ | MprotectFlags::WRITE) }
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: by contract nobody writes to the range meanwhile, nor reads it if it is payload.
        unsafe { protect(place, len, reserved_protection(kind).1) }?;
        // SAFETY: by contract whole granules of a region, whose contents may go.
        let outcome = unsafe { map::discard(place, len) };
        if outcome.is_err() {
            // SAFETY: as for `commit`; the range stays committed. Undoing a change that was
            // possible needs no new mapping.
            let _ = unsafe { protect(place, len, MprotectFlags::READ | MprotectFlags::WRITE) };
        }
        outcome
    }

    unsafe fn advise(&self, place: NonNull<u8>, len: usize, advice: Advice) {
        // SAFETY: by contract a pageblock of a region.
        unsafe { map::advise_block(place, len, advice) };
    }
}
