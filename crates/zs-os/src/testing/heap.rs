//! A backing of ordinary heap memory.

use crate::short_lock::short_lock;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::sync::{Arc, Mutex};
use zs_mm::{Advice, Backing, BackingError, RegionKind, ZoneKind, ZoneRefusal};

/// The byte that fills payload while it is decommitted.
pub const POISON: u8 = 0xdb;

/// Poison to compare decommitted granules with.
static POISONED_BYTES: [u8; 4096] = [POISON; 4096];

/// The state of a granule that was never committed: it is zero, as allocated.
const FRESH: u8 = 0;
const COMMITTED: u8 = 1;
/// The state of a granule of payload that was given back: it is full of poison.
const POISONED: u8 = 2;

/// A test tool: a backing of zeroed memory from the ordinary allocator.
///
/// Any granule is possible, and sanitizers and model checkers know the memory. Payload is poisoned
/// when it is given back, and the poison is checked when it is committed again or released. So a
/// write to memory that was given back causes a panic there. Each region is allocated as a whole.
#[derive(Debug)]
pub struct HeapBacking {
    granule: usize,
    regions: Mutex<Vec<Arc<Region>>>,
}

#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    len: usize,
    /// The allocation that the region lies in, and its layout.
    allocation: NonNull<u8>,
    layout: Layout,
    /// One of the states above for each granule.
    states: Box<[AtomicU8]>,
}

// SAFETY: `base` and `allocation` are addresses of memory that is tied to no thread; its bytes are
// touched under the contract of the backing only.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl HeapBacking {
    /// Makes a backing with a granule of `granule` bytes. A number that is no power of two is not
    /// changed: the arena refuses it.
    pub fn new(granule: usize) -> Self {
        Self {
            granule,
            regions: Mutex::default(),
        }
    }

    /// Returns the region of an address, and the numbers of the granules from there.
    fn find(
        &self,
        base: NonNull<u8>,
        len: usize,
    ) -> Option<(Arc<Region>, core::ops::Range<usize>)> {
        let address = base.addr().get();
        let regions = short_lock(&self.regions);
        let region = regions.iter().find(|region| {
            let start = region.base.addr().get();
            start <= address && address + len <= start + region.len
        })?;
        let first = (address - region.base.addr().get()) / self.granule;
        Some((Arc::clone(region), first..first + len / self.granule))
    }

    /// Returns the bytes of one granule.
    fn granule_of(&self, region: &Region, granule: usize) -> NonNull<u8> {
        debug_assert!(granule < region.states.len());
        // SAFETY: the region has a state for each of its granules, so this one lies in it.
        unsafe { region.base.add(granule * self.granule) }
    }

    /// Panics if a granule was written to after it was given back.
    ///
    /// # Safety
    /// The granule lies in a region, and nobody writes to it.
    unsafe fn check_poison(&self, base: NonNull<u8>) {
        // SAFETY: heap memory is initialised from the start; the rest by contract.
        let bytes = unsafe { core::slice::from_raw_parts(base.as_ptr(), self.granule) };
        let mut chunks = bytes.chunks(POISONED_BYTES.len());
        assert!(
            chunks.all(|chunk| *chunk == POISONED_BYTES[..chunk.len()]),
            "payload was written to after it was given back"
        );
    }

    /// Zeroes a granule of a table, which other threads may read meanwhile.
    ///
    /// # Safety
    /// The granule lies in a table region, and nobody writes to it.
    unsafe fn zero_table(&self, base: NonNull<u8>) {
        for offset in (0..self.granule).step_by(size_of::<AtomicU64>()) {
            // SAFETY: the offset is within the granule.
            let word = unsafe { base.add(offset) }.cast::<AtomicU64>();
            // SAFETY: granules are aligned for words, valid while the region is; concurrent
            // readers read atomic cells.
            unsafe { word.as_ref() }.store(0, Ordering::Relaxed);
        }
    }
}

// SAFETY: 1. Each region is an allocation of its own, freed by `release` alone. 2. It is readable
// and writable throughout, zero at first; a commit zeroes what was poisoned and leaves what was
// committed (the caller's ranges of payload are disjoint; tables are zeroed when they are
// decommitted).
// 3. Tables are never poisoned. 4. A call fails before it does anything.
unsafe impl Backing for HeapBacking {
    fn granule(&self) -> usize {
        self.granule
    }

    fn reserve(
        &self,
        _kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        let align = align.max(self.granule);
        if len == 0 || !len.is_multiple_of(self.granule) || !align.is_power_of_two() {
            return Err(BackingError);
        }
        // The region is aligned here. An allocator that must align to more than a word writes all
        // zeros itself; otherwise it uses memory that the system has zeroed.
        let wanted = len.checked_add(align).ok_or(BackingError)?;
        let layout = Layout::array::<u8>(wanted).map_err(|_| BackingError)?;
        // SAFETY: the layout is not empty.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(BackingError)?;
        let skipped = allocation.addr().get().wrapping_neg() & (align - 1);
        // SAFETY: less than `align` bytes further there are still `len`.
        let base = unsafe { allocation.add(skipped) };
        let states = (0..len / self.granule).map(|_| AtomicU8::new(FRESH));
        short_lock(&self.regions).push(Arc::new(Region {
            base,
            len,
            allocation,
            layout,
            states: states.collect(),
        }));
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

    unsafe fn release(&self, kind: RegionKind, base: NonNull<u8>, _len: usize) {
        let mut regions = short_lock(&self.regions);
        let Some(at) = regions.iter().position(|region| region.base == base) else {
            debug_assert!(false, "released what was not reserved");
            return;
        };
        let region = regions.swap_remove(at);
        drop(regions);
        for (granule, state) in region.states.iter().enumerate() {
            if kind == RegionKind::Payload && state.load(Ordering::Relaxed) == POISONED {
                // SAFETY: by contract nobody uses the region any more.
                unsafe { self.check_poison(self.granule_of(&region, granule)) };
            }
        }
        // SAFETY: it was allocated with this layout; its region left the list just now.
        unsafe { dealloc(region.allocation.as_ptr(), region.layout) };
    }

    unsafe fn commit(
        &self,
        _kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        let (region, granules) = self.find(base, len).ok_or(BackingError)?;
        for granule in granules {
            // Relaxed: the arena orders the uses of a range of payload, and the contents of tables
            // are not changed here.
            if region.states[granule].swap(COMMITTED, Ordering::Relaxed) == POISONED {
                let base = self.granule_of(&region, granule);
                // SAFETY: poisoned payload, which nobody uses until this call is done.
                unsafe { self.check_poison(base) };
                // SAFETY: as above.
                unsafe { base.write_bytes(0, self.granule) };
            }
        }
        Ok(())
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        let (region, granules) = self.find(base, len).ok_or(BackingError)?;
        for granule in granules {
            let base = self.granule_of(&region, granule);
            if kind == RegionKind::Table {
                // SAFETY: by contract nobody writes to the range meanwhile.
                unsafe { self.zero_table(base) };
                region.states[granule].store(FRESH, Ordering::Relaxed);
            } else {
                // SAFETY: by contract nobody reads or writes the range meanwhile.
                unsafe { base.write_bytes(POISON, self.granule) };
                region.states[granule].store(POISONED, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    unsafe fn advise(&self, _base: NonNull<u8>, _len: usize, _advice: Advice) {}
}
