//! Objects moved together, memory given back.

use crate::arena::own;
use crate::border::{Out, answer};
use crate::pool::{POOLS, PoolEntry, find, zs_pool_t};
use crate::result::zs_result;
use crate::versioned::{Answer, Versioned};
use core::mem::size_of;
use core::sync::atomic::Ordering;
use zsmalloc::{CompactBudget, CompactEnd, CompactReport};

/// A budget without an end.
pub const ZS_UNLIMITED: u64 = u64::MAX;

/// Why a compaction ended.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum zs_compact_end {
    /// Nothing is left that could be moved with profit.
    ZS_COMPACT_DONE = 0,
    /// The budget is spent: the next call goes on where this one ended.
    ZS_COMPACT_BUDGET = 1,
    /// A forked child shares the memory, or this process is one: nothing moves until it has exited.
    ZS_COMPACT_PAUSED = 2,
    /// Another thread is compacting this pool.
    ZS_COMPACT_ELSEWHERE = 3,
}

/// The outcome of one compaction.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_compact_report {
    /// Bytes of this struct that the library wrote: a field beyond them is unknown to it.
    pub size: u64,
    /// A `zs_compact_end`: why it ended.
    pub end: u64,
    /// Objects that were moved.
    pub objects_moved: u64,
    /// Bytes of those objects.
    pub bytes_moved: u64,
    /// Objects that stayed because somebody used them just then.
    pub objects_busy: u64,
    /// Page frames that were emptied; they go back to the system by a trim, or with time.
    pub frames_freed: u64,
    /// Page frames that were taken to move objects to.
    pub frames_attached: u64,
}

// SAFETY: seven numbers without padding; all of them were in the first version.
unsafe impl Versioned for zs_compact_report {
    const FIRST_SIZE: usize = 56;
    const NAME: &str = "zs_compact_report";
}
const _: () = assert!(size_of::<zs_compact_report>() == 56);

impl zs_compact_report {
    fn new(size: u64, report: &CompactReport) -> Self {
        let end = match report.end {
            CompactEnd::Done => zs_compact_end::ZS_COMPACT_DONE,
            // No caller of this interface stops one.
            CompactEnd::Budget | CompactEnd::Stopped => zs_compact_end::ZS_COMPACT_BUDGET,
            CompactEnd::Paused => zs_compact_end::ZS_COMPACT_PAUSED,
            CompactEnd::Elsewhere => zs_compact_end::ZS_COMPACT_ELSEWHERE,
        };
        Self {
            size,
            end: end as u64,
            objects_moved: report.objects_moved,
            bytes_moved: report.bytes_moved,
            objects_busy: report.objects_busy,
            frames_freed: report.frames_freed,
            frames_attached: report.frames_attached,
        }
    }
}

impl PoolEntry {
    /// Compacts, and counts what that freed.
    pub(crate) fn compact(&self, budget: CompactBudget) -> CompactReport {
        let report = self.pool.compact(budget);
        // Relaxed: a counter.
        self.frames_compacted
            .fetch_add(freed(&report), Ordering::Relaxed);
        report
    }
}

/// Frames that a compaction freed, those that it took taken off.
pub(crate) fn freed(report: &CompactReport) -> u64 {
    report.frames_freed.saturating_sub(report.frames_attached)
}

/// Moves objects together, beside everything else that goes on, so that page frames empty: at most
/// `max_objects` moves, or until about `max_frames` frames were freed; `ZS_UNLIMITED` for either is
/// no bound. Handles stay what they are; no reader is waited for. `report` may be NULL, else `size`
/// is `sizeof *report`.
///
/// Takes about 1 us an object moved; holds no lock for longer than 32 moves.
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_INVALID`; what was done, or why nothing, is in the report.
///
/// # Safety
/// As for all functions: see `docs/c.md`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_compact(
    pool: *mut zs_pool_t,
    max_objects: u64,
    max_frames: u64,
    report: *mut zs_compact_report,
    size: usize,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let entry = unsafe { POOLS.get(pool) }?;
        let place = if report.is_null() {
            None
        } else {
            // SAFETY: by this function's contract.
            Some(unsafe { Answer::new(report, size) }?)
        };
        let done = entry.compact(CompactBudget {
            objects: max_objects,
            frames: max_frames,
        });
        if let Some(place) = place {
            place.fill(zs_compact_report::new(place.known(), &done));
        }
        Ok(())
    })
}

/// How many page frames a compaction would free, if every object could be moved: never more than
/// there are.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_can_compact(pool: *mut zs_pool_t, frames: *mut u64) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        // SAFETY: by this function's contract.
        let place = unsafe { Out::new(frames) }?;
        own(pool.arena())?;
        place.set(pool.can_compact());
        Ok(())
    })
}

/// Gives page frames back to the system, about `frames` of them if so many can be spared: free ones
/// first, then those that compaction empties. `bytes`, if not NULL, becomes how many bytes went.
///
/// While views or mappings are open it may take a frame and free none: an object in use stays and
/// keeps its frame, when those beside it have moved to another.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_shrink(
    pool: *mut zs_pool_t,
    frames: u64,
    bytes: *mut u64,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let entry = unsafe { POOLS.get(pool) }?;
        own(entry.pool.arena())?;
        let given = entry.pool.shrink_by(frames, |budget| {
            entry.compact(budget);
        });
        // SAFETY: by this function's contract.
        if let Some(place) = unsafe { Out::optional(bytes) } {
            place.set(given);
        }
        Ok(())
    })
}

/// Gives back what nothing uses: every free page frame of the arena, those that the pool's classes
/// keep back, and empty pages of its tables. `bytes`, if not NULL, becomes how many bytes went.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_trim(pool: *mut zs_pool_t, bytes: *mut u64) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        own(pool.arena())?;
        let given = pool.trim();
        // SAFETY: by this function's contract.
        if let Some(place) = unsafe { Out::optional(bytes) } {
            place.set(given);
        }
        Ok(())
    })
}
