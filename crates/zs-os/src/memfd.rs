//! A backing whose payload lies in a memfd.

use crate::anon::AnonBacking;
use crate::map;
use crate::page_size::os_page_size;
use crate::shared_ranges::{SharedRanges, memfd};
use core::ptr::NonNull;
use rustix::mm::ProtFlags;
use zs_mm::{Advice, Backing, BackingError, RegionKind};

/// Whether a commit of payload also maps the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemfdCommit {
    /// Allocates and maps the pages: they are resident at once, and cause no page fault later.
    #[default]
    Mapped,
    /// Allocates the pages only. A page is mapped when it is first touched: until then it counts
    /// for the file, but not in the Rss and Pss of this process.
    Allocated,
}

/// A backing with payload in memfds, one for each region, and tables in private anonymous memory.
///
/// Payload is committed by `fallocate`, because a write to a full tmpfs kills the process, and
/// given back by punching holes. A memfd is not inherited by `exec`, nor payload by a fork. In a
/// forked child every commit and decommit of payload is refused, because it would change the
/// parent's memory.
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
    /// Makes a backing without regions. Each reservation of payload makes a memfd.
    pub fn new(commit: MemfdCommit) -> Self {
        Self {
            commit,
            tables: AnonBacking::new(),
            regions: SharedRanges::new(),
        }
    }

    fn reserve_payload(&self, len: usize, align: usize) -> Result<NonNull<u8>, BackingError> {
        let file = memfd(len).map_err(|_| BackingError)?;
        let base = map::reserve(ProtFlags::READ | ProtFlags::WRITE, len, align)?;
        // SAFETY: the region was just made, and is ours.
        let shown = unsafe { self.regions.show(base, len, file) };
        if shown.is_err() {
            // SAFETY: nobody else has the region.
            unsafe { map::release(base, len) };
        }
        shown.map(|()| base)
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

    unsafe fn release(&self, kind: RegionKind, base: NonNull<u8>, len: usize) {
        if kind == RegionKind::Payload {
            if self.regions.are_lost() {
                // A forked child never had the mapping. Another one may be at this address.
                return;
            }
            self.regions.forget(base, len);
        }
        // SAFETY: by contract the whole of one region, which nobody uses any more.
        unsafe { map::release(base, len) };
    }

    unsafe fn commit(
        &self,
        kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        if kind == RegionKind::Payload {
            self.regions.allocate(base, len)?;
            if self.commit == MemfdCommit::Allocated {
                return Ok(());
            }
        }
        // SAFETY: by contract whole granules (pages) of a region, which is readable and writable.
        unsafe { map::populate(base, len) }
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        if kind == RegionKind::Table {
            // SAFETY: the contract is the same.
            return unsafe { self.tables.decommit(kind, base, len) };
        }
        self.regions.punch(base, len)
    }

    fn process(&self) -> u64 {
        self.tables.process()
    }

    fn child_can_read(&self) -> bool {
        false
    }

    unsafe fn advise(&self, base: NonNull<u8>, len: usize, advice: Advice) {
        // SAFETY: by contract a pageblock of a region.
        unsafe { map::advise_block(base, len, advice) };
    }
}
