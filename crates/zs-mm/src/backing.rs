//! The contract with whoever owns real memory.

use crate::zone_spec::{ZoneKind, ZoneRefusal};
use core::fmt;
use core::ptr::NonNull;

/// What a region is for; a backing may treat the two differently (a memfd holds payload only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionKind {
    /// Frames: committed before use, never read when not committed.
    Payload,
    /// Metadata: read at any time, and zero where it is not committed.
    Table,
}

/// The size of pages by which the operating system may map a range of payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// By a huge page: every frame of the pageblock is in use.
    Huge,
    /// By small pages only: frames of it are about to be given back, and stay so.
    Small,
}

/// The backing could not do what it was asked; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackingError;

impl fmt::Display for BackingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the backing refused memory")
    }
}

impl core::error::Error for BackingError {}

/// A source of address space and of memory to put into it.
///
/// Memory goes through three states: *reserved* (addresses only), *committed* (usable; the write
/// that follows cannot fail), and reserved again. Every call may fail, and none may abort.
/// Calls come from several threads, for disjoint ranges unless said otherwise, and never with a
/// lock of the core held.
///
/// # Safety
/// An implementation promises:
/// 1. `reserve` returns a range of its own, aligned as asked, that stays valid until `release`
///    (also beyond the life of the backing itself).
/// 2. A committed range is readable and writable; it reads as zeros after its first commit, and
///    after each decommit and commit. Committing what is committed changes nothing, also when two
///    threads do it at once.
/// 3. A `Table` region may be read at any time, committed or not, and reads as zeros where it is
///    not; a compare-and-swap there that fails does no harm (it may take a granule of memory, until
///    the next decommit). A backing that cannot decommit a table without losing that refuses, and
///    it stays.
/// 4. A failed call leaves the range as it was, but for what [`decommit`](Self::decommit) says.
pub unsafe trait Backing: Send + Sync + fmt::Debug {
    /// Returns the unit of commit and decommit in bytes: a power of two.
    fn granule(&self) -> usize;

    /// Reserves `len` bytes (a multiple of the granule) at a multiple of `align`.
    ///
    /// # Errors
    /// If no such range is to be had.
    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError>;

    /// Takes a whole region back.
    ///
    /// # Safety
    /// `place` and `len` are those of one `reserve` of this `kind`, released once, and nobody uses
    /// the region any more.
    unsafe fn release(&self, kind: RegionKind, place: NonNull<u8>, len: usize);

    /// Puts memory into a range, so that a write to it cannot fail.
    ///
    /// # Errors
    /// If there is no memory; the range is then as it was.
    ///
    /// # Safety
    /// The range is granule-aligned and lies in a region of this `kind`.
    unsafe fn commit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError>;

    /// Gives the memory of a range back. Its contents are gone.
    ///
    /// # Errors
    /// If the system refuses; the memory is then still held, and its contents are undefined
    /// (payload), or each granule is as it was or zero (a table).
    ///
    /// # Safety
    /// As for [`commit`](Self::commit); and nobody reads (payload) or writes the range meanwhile.
    unsafe fn decommit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError>;

    /// Gives the memory of several ranges back, in order; returns how many are gone: the first so
    /// many. If that is not all of them, the next one was refused, as by
    /// [`decommit`](Self::decommit).
    ///
    /// Here: one call each. A system that takes many ranges at a time does better.
    ///
    /// # Safety
    /// As for [`decommit`](Self::decommit), for each range.
    unsafe fn decommit_runs(&self, kind: RegionKind, runs: &[(NonNull<u8>, usize)]) -> usize {
        let refused = runs.iter().position(|&(place, len)| {
            // SAFETY: by this function's contract.
            unsafe { self.decommit(kind, place, len) }.is_err()
        });
        refused.unwrap_or(runs.len())
    }

    /// Makes the frames of one zone of a kind, on a node. Called once for each zone, in order,
    /// before anything of the region is committed. From then on every call is for ranges of one
    /// zone.
    ///
    /// Here: what the backing makes anyway, on any node; nothing else.
    ///
    /// # Errors
    /// Why that cannot be; the region is then only good for [`release`](Self::release).
    ///
    /// # Safety
    /// The range is granule-aligned and lies in a payload region of which nothing was committed yet
    /// and which nobody uses; no part of it was placed before.
    unsafe fn place_zone(
        &self,
        place: NonNull<u8>,
        len: usize,
        kind: ZoneKind,
        node: Option<u32>,
    ) -> Result<(), ZoneRefusal> {
        let _ = (place, len);
        match (kind, node) {
            (ZoneKind::Normal, None) => Ok(()),
            (ZoneKind::Normal, Some(_)) => Err(ZoneRefusal::NodeOfKind),
            _ => Err(ZoneRefusal::Kind),
        }
    }

    /// Returns a number that differs between a process and its forked children, for one backing.
    /// Always the same where nothing forks.
    fn process(&self) -> u64 {
        0
    }

    /// Says whether a forked child sees the payload as it was at the fork.
    fn child_can_read(&self) -> bool {
        true
    }

    /// Advises how a pageblock of payload may be mapped; a hint, and so without an error.
    ///
    /// # Safety
    /// The range is one whole pageblock of a payload region.
    unsafe fn advise(&self, place: NonNull<u8>, len: usize, advice: Advice);
}
