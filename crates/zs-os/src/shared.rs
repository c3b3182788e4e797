//! Ranges of payload that show files: committed by `fallocate`, given back by punching holes.
//!
//! range of addresses -> file from its start
//!
//! Touching a page of a file that has no block for it kills the process where the file system is
//! full; `fallocate` fails instead. No range is inherited by a forked child, which would change the
//! parent's memory: there every commit and decommit is refused.
//!
//! # Locking
//!
//! The list has a lock of its own, held for a look.

use crate::short_lock::short_lock;
use crate::{fork, map};
use core::ptr::NonNull;
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};
use zs_mm::BackingError;

/// How often an interrupted `fallocate` is tried: each signal undoes the whole of it.
const TRIES: usize = 64;

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

/// The ranges of one backing.
#[derive(Debug)]
pub(crate) struct SharedRanges {
    /// The number of the process that made it: see `fork`.
    owner: u64,
    ranges: Mutex<Vec<Arc<SharedRange>>>,
}

#[derive(Debug)]
struct SharedRange {
    start: usize,
    len: usize,
    file: OwnedFd,
}

impl SharedRange {
    fn contains(&self, address: usize) -> bool {
        (self.start..self.start + self.len).contains(&address)
    }
}

impl SharedRanges {
    pub(crate) fn new() -> Self {
        Self {
            owner: fork::process(),
            ranges: Mutex::default(),
        }
    }

    /// Says whether this is a forked child of the process that made the ranges: it does not have
    /// them.
    pub(crate) fn are_lost(&self) -> bool {
        fork::process() != self.owner
    }

    /// Has a range show a file from its start, in this process alone.
    ///
    /// # Errors
    /// If the system refuses; what the range shows is then open.
    ///
    /// # Safety
    /// The range is page-aligned, mapped, the caller's, and its contents are not needed.
    pub(crate) unsafe fn show(
        &self,
        place: NonNull<u8>,
        len: usize,
        file: OwnedFd,
    ) -> Result<(), BackingError> {
        // SAFETY: by contract.
        unsafe { map::show_file(place, len, file.as_fd()) }?;
        // SAFETY: by contract.
        unsafe { map::advise_region(place, len) };
        // SAFETY: by contract; the contents stay, in this process.
        unsafe { map::advise(place, len, rustix::mm::Advice::LinuxDontFork) }
            .map_err(|_| BackingError)?;
        short_lock(&self.ranges).push(Arc::new(SharedRange {
            start: place.addr().get(),
            len,
            file,
        }));
        Ok(())
    }

    /// Says whether an address lies in a range that shows a file.
    pub(crate) fn contains(&self, place: NonNull<u8>) -> bool {
        self.find(place).is_some()
    }

    fn find(&self, place: NonNull<u8>) -> Option<Arc<SharedRange>> {
        let ranges = short_lock(&self.ranges);
        let found = ranges
            .iter()
            .find(|range| range.contains(place.addr().get()));
        found.map(Arc::clone)
    }

    /// Forgets the ranges within a region that goes. Files that others can see become holes, for
    /// what they hold is nobody's any more.
    pub(crate) fn forget(&self, region: NonNull<u8>, len: usize) {
        let start = region.addr().get();
        let inside = |range: &mut Arc<SharedRange>| (start..start + len).contains(&range.start);
        let gone: Vec<_> = short_lock(&self.ranges).extract_if(.., inside).collect();
        for range in gone {
            // What the file system refuses stays there; nothing depends on it.
            let _ = punch_hole(&range.file, 0, range.len);
        }
    }

    /// Has the file take memory, or blocks, for a part of a range; what is there is kept.
    pub(crate) fn allocate(&self, place: NonNull<u8>, len: usize) -> Result<(), BackingError> {
        self.call(place, FallocateFlags::empty(), len)
    }

    /// Gives the memory, or blocks, of a part of a range back; it then reads as zeros.
    pub(crate) fn punch(&self, place: NonNull<u8>, len: usize) -> Result<(), BackingError> {
        self.call(place, PUNCH, len)
    }

    fn call(
        &self,
        place: NonNull<u8>,
        mode: FallocateFlags,
        len: usize,
    ) -> Result<(), BackingError> {
        if self.are_lost() {
            return Err(BackingError);
        }
        let range = self.find(place).ok_or(BackingError)?;
        let offset = (place.addr().get() - range.start) as u64;
        fallocate(&range.file, mode, offset, len).map_err(|_| BackingError)
    }
}

fn fallocate(file: &OwnedFd, mode: FallocateFlags, at: u64, len: usize) -> Result<(), Errno> {
    let mut tries = 0;
    loop {
        tries += 1;
        match rustix::fs::fallocate(file, mode, at, len as u64) {
            Err(Errno::INTR | Errno::AGAIN) if tries < TRIES => rustix::thread::sched_yield(),
            outcome => return outcome,
        }
    }
}

/// Makes a hole of a part of a file; says whether its file system can.
pub(crate) fn punch_hole(file: &OwnedFd, at: u64, len: usize) -> Result<(), Errno> {
    fallocate(file, PUNCH, at, len)
}

/// Returns a new file in memory, without any memory yet.
pub(crate) fn memfd(len: usize) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::memfd_create(c"zs-payload", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, len as u64)?;
    Ok(file)
}
