//! Ranges of payload that map files: committed by `fallocate`, given back by punching holes.
//!
//! Data model: range of addresses -> file, from its start.
//!
//! If the file system is full, touching a page without a block kills the process, but `fallocate`
//! only fails. A forked child does not inherit the ranges, because it would change the parent's
//! memory: there every commit and decommit is refused.
//!
//! # Locking
//!
//! The list has a lock, held for a few instructions.

use crate::short_lock::short_lock;
use crate::{fork, map};
use core::ptr::NonNull;
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};
use zs_mm::BackingError;

/// The number of tries of an interrupted `fallocate`: each signal undoes the whole call.
const TRIES: usize = 64;

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

/// The ranges of one backing.
#[derive(Debug)]
pub(crate) struct SharedRanges {
    /// The number of the process that made it, see `fork`.
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

    /// Says whether this process is a forked child, which does not have the ranges.
    pub(crate) fn are_lost(&self) -> bool {
        fork::process() != self.owner
    }

    /// Maps a file, from its start, over a range, in this process only.
    ///
    /// # Errors
    /// [`BackingError`] if the system refuses. The contents of the range are then unspecified.
    ///
    /// # Safety
    /// The range is page-aligned, mapped, the caller's, and its contents are not needed.
    pub(crate) unsafe fn show(
        &self,
        base: NonNull<u8>,
        len: usize,
        file: OwnedFd,
    ) -> Result<(), BackingError> {
        // SAFETY: by contract.
        unsafe { map::show_file(base, len, file.as_fd()) }?;
        // SAFETY: by contract.
        unsafe { map::advise_region(base, len) };
        // SAFETY: by contract; the contents stay, in this process.
        unsafe { map::advise(base, len, rustix::mm::Advice::LinuxDontFork) }
            .map_err(|_| BackingError)?;
        short_lock(&self.ranges).push(Arc::new(SharedRange {
            start: base.addr().get(),
            len,
            file,
        }));
        Ok(())
    }

    /// Says whether an address lies in a range that maps a file.
    pub(crate) fn contains(&self, base: NonNull<u8>) -> bool {
        self.find(base).is_some()
    }

    fn find(&self, base: NonNull<u8>) -> Option<Arc<SharedRange>> {
        let ranges = short_lock(&self.ranges);
        let found = ranges
            .iter()
            .find(|range| range.contains(base.addr().get()));
        found.map(Arc::clone)
    }

    /// Removes the ranges inside a region that is released. Their files become holes, because their
    /// contents are not needed any more.
    pub(crate) fn forget(&self, region: NonNull<u8>, len: usize) {
        let start = region.addr().get();
        let inside = |range: &mut Arc<SharedRange>| (start..start + len).contains(&range.start);
        let gone: Vec<_> = short_lock(&self.ranges).extract_if(.., inside).collect();
        for range in gone {
            // If the file system refuses, the contents stay. Nothing depends on it.
            let _ = punch_hole(&range.file, 0, range.len);
        }
    }

    /// Allocates memory, or blocks, of the file for a part of a range. Existing contents stay.
    pub(crate) fn allocate(&self, base: NonNull<u8>, len: usize) -> Result<(), BackingError> {
        self.call(base, FallocateFlags::empty(), len)
    }

    /// Gives the memory, or blocks, of a part of a range back. It then reads as zeros.
    pub(crate) fn punch(&self, base: NonNull<u8>, len: usize) -> Result<(), BackingError> {
        self.call(base, PUNCH, len)
    }

    fn call(
        &self,
        base: NonNull<u8>,
        mode: FallocateFlags,
        len: usize,
    ) -> Result<(), BackingError> {
        if self.are_lost() {
            return Err(BackingError);
        }
        let range = self.find(base).ok_or(BackingError)?;
        let offset = (base.addr().get() - range.start) as u64;
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

/// Makes a hole in a file. Fails if its file system does not support that.
pub(crate) fn punch_hole(file: &OwnedFd, at: u64, len: usize) -> Result<(), Errno> {
    fallocate(file, PUNCH, at, len)
}

/// Makes a memfd of `len` bytes, without memory yet.
pub(crate) fn memfd(len: usize) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::memfd_create(c"zs-payload", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, len as u64)?;
    Ok(file)
}
