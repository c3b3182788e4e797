//! A backing whose payload lies in a memfd.

use crate::anon::AnonBacking;
use crate::map;
use crate::page::os_page_size;
use crate::shared::{SharedRanges, memfd};
use core::ptr::NonNull;
use rustix::mm::ProtFlags;
use zs_mm::{Advice, Backing, BackingError, RegionKind};

/// The work of a commit of payload, beyond taking the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemfdCommit {
    /// Maps the pages too: no later page fault, and resident at once.
    #[default]
    Mapped,
    /// Leaves mapping to the first touch: a page that this process never touches counts in the
    /// file, but not in the process's Rss and Pss.
    Allocated,
}

/// Payload in a memfd, one for each region; tables in private anonymous memory.
///
/// Committed by `fallocate`, because a write to a full tmpfs kills; given back by punching holes.
/// No memfd is inherited by `exec`, and no payload by a fork: in a forked child every commit and
/// decommit of payload is refused, since it would change the parent's memory.
#[derive(Debug)]
pub struct MemfdBacking {
    commit: MemfdCommit,
    tables: AnonBacking,
    regions: SharedRanges,
}

impl Default for MemfdBacking {
    fn default() -> Self {
        Self::new(MemfdCommit::default())
    }
}

impl MemfdBacking {
    /// Makes a backing without any region; a memfd is made by each reservation of payload.
    pub fn new(commit: MemfdCommit) -> Self {
        Self {
            commit,
            tables: AnonBacking::new(),
            regions: SharedRanges::new(),
        }
    }

    fn reserve_payload(&self, len: usize, align: usize) -> Result<NonNull<u8>, BackingError> {
        let file = memfd(len).map_err(|_| BackingError)?;
        let place = map::reserve(ProtFlags::READ | ProtFlags::WRITE, len, align)?;
        // SAFETY: the region was just made, and is ours.
        let shown = unsafe { self.regions.show(place, len, file) };
        if shown.is_err() {
            // SAFETY: nobody else has the region.
            unsafe { map::release(place, len) };
        }
        shown.map(|()| place)
    }
}

// SAFETY: 1. `map::reserve` makes a mapping of its own, which only `release` unmaps; a mapping
// keeps its file, also when the descriptor goes with the backing. 2. The whole file is mapped
// readable and writable; `fallocate` puts zeroed pages where there are none, and keeps what is
// there; a punched hole reads as zeros. 3. Tables are the anonymous backing's. 4. A failed
// `fallocate` frees what it added; a failed populate leaves zeroed pages of the file behind, but no
// changed contents.
unsafe impl Backing for MemfdBacking {
    fn granule(&self) -> usize {
        os_page_size()
    }

    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        match kind {
            RegionKind::Table => self.tables.reserve(kind, len, align),
            RegionKind::Payload => self.reserve_payload(len, align),
        }
    }

    unsafe fn release(&self, kind: RegionKind, place: NonNull<u8>, len: usize) {
        if kind == RegionKind::Payload {
            if self.regions.are_lost() {
                // A forked child never had the mapping; something else may be there.
                return;
            }
            self.regions.forget(place, len);
        }
        // SAFETY: by contract the whole of one region, which nobody uses any more.
        unsafe { map::release(place, len) };
    }

    unsafe fn commit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        if kind == RegionKind::Payload {
            self.regions.allocate(place, len)?;
            if self.commit == MemfdCommit::Allocated {
                return Ok(());
            }
        }
        // SAFETY: by contract whole granules (pages) of a region, which is readable and writable.
        unsafe { map::populate(place, len) }
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        if kind == RegionKind::Table {
            // SAFETY: the contract is the same.
            return unsafe { self.tables.decommit(kind, place, len) };
        }
        self.regions.punch(place, len)
    }

    fn process(&self) -> u64 {
        self.tables.process()
    }

    fn child_can_read(&self) -> bool {
        false
    }

    unsafe fn advise(&self, place: NonNull<u8>, len: usize, advice: Advice) {
        // SAFETY: by contract a pageblock of a region.
        unsafe { map::advise_block(place, len, advice) };
    }
}
