//! A backing whose payload lies in a memfd.

use crate::anon::AnonBacking;
use crate::fork;
use crate::map::{self, Source};
use crate::page::os_page_size;
use crate::short_lock::short_lock;
use core::ptr::NonNull;
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use rustix::mm::ProtFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use zs_mm::{Advice, Backing, BackingError, RegionKind};

/// How often an interrupted `fallocate` is tried: each signal undoes the whole of it.
const TRIES: usize = 64;

/// What a commit of payload does beyond taking the memory.
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
/// Committed by `fallocate`, because a write to a full tmpfs kills; given back by punching holes. No
/// memfd is inherited by `exec`, and no payload by a fork: in a forked child every commit and
/// decommit of payload is refused, since it would change the parent's memory.
#[derive(Debug)]
pub struct MemfdBacking {
    commit: MemfdCommit,
    /// The number of the process that made it: see `fork`.
    owner: u64,
    tables: AnonBacking,
    regions: Mutex<Vec<Arc<Region>>>,
}

/// A mapping of a whole memfd.
#[derive(Debug)]
struct Region {
    start: usize,
    len: usize,
    file: OwnedFd,
}

impl Default for MemfdBacking {
    fn default() -> Self {
        Self::new(MemfdCommit::default())
    }
}

impl MemfdBacking {
    /// A backing without any region; a memfd is made by each reservation of payload.
    pub fn new(commit: MemfdCommit) -> Self {
        Self {
            commit,
            owner: fork::process(),
            tables: AnonBacking::new(),
            regions: Mutex::default(),
        }
    }

    fn reserve_payload(&self, len: usize, align: usize) -> Result<NonNull<u8>, BackingError> {
        let file = memfd(len).map_err(|_| BackingError)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let place = map::reserve(Source::Shared(file.as_fd()), protection, len, align)?;
        // SAFETY: the region was just made, and is ours.
        unsafe { map::advise_region(place, len) };
        // SAFETY: as above; the contents stay, in this process.
        let kept = unsafe { map::advise(place, len, rustix::mm::Advice::LinuxDontFork) };
        if kept.is_err() {
            // SAFETY: nobody else has the region.
            unsafe { map::release(place, len) };
            return Err(BackingError);
        }
        short_lock(&self.regions).push(Arc::new(Region {
            start: place.addr().get(),
            len,
            file,
        }));
        Ok(place)
    }

    /// The region of an address, and the address's offset in its file.
    fn find(&self, place: NonNull<u8>) -> Result<(Arc<Region>, u64), BackingError> {
        if fork::process() != self.owner {
            return Err(BackingError);
        }
        let address = place.addr().get();
        let regions = short_lock(&self.regions);
        let found = regions
            .iter()
            .find(|region| (region.start..region.start + region.len).contains(&address));
        let region = Arc::clone(found.ok_or(BackingError)?);
        let offset = (address - region.start) as u64;
        Ok((region, offset))
    }
}

fn memfd(len: usize) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::memfd_create(c"zs-payload", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, len as u64)?;
    Ok(file)
}

fn fallocate(
    region: &Region,
    mode: FallocateFlags,
    at: u64,
    len: usize,
) -> Result<(), BackingError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match rustix::fs::fallocate(&region.file, mode, at, len as u64) {
            Err(Errno::INTR | Errno::AGAIN) if tries < TRIES => rustix::thread::sched_yield(),
            outcome => return outcome.map_err(|_| BackingError),
        }
    }
}

// SAFETY: 1. `map::reserve` makes a mapping of its own, which only `release` unmaps; a mapping keeps
// its file, also when the descriptor goes with the backing. 2. The whole file is mapped readable and
// writable; `fallocate` puts zeroed pages where there are none, and keeps what is there; a punched
// hole reads as zeros. 3. Tables are the anonymous backing's. 4. A failed `fallocate` frees what it
// added; a failed populate leaves zeroed pages of the file behind, but no changed contents.
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
            if fork::process() != self.owner {
                // A forked child never had the mapping; something else may be there.
                return;
            }
            let start = place.addr().get();
            short_lock(&self.regions).retain(|region| region.start != start);
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
            let (region, offset) = self.find(place)?;
            fallocate(&region, FallocateFlags::empty(), offset, len)?;
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
        let (region, offset) = self.find(place)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&region, hole, offset, len)
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
