//! One call that keeps memory whole.

use crate::arena::own;
use crate::border::answer;
use crate::pool::{POOLS, zs_pool_t};
use crate::result::zs_result;
use crate::versioned::{Answer, Versioned};
use core::mem::size_of;
use core::sync::atomic::Ordering;
use zsmalloc::{MaintainBudget, MaintainEnd, MaintainReport};

/// Why a maintenance ended.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum zs_maintain_end {
    /// Nothing is left that could be won, but for what was in use.
    ZS_MAINTAIN_DONE = 0,
    /// The budget is spent: the next call goes on where this one ended.
    ZS_MAINTAIN_BUDGET = 1,
    /// A forked child shares the memory: nothing moves until it has exited.
    ZS_MAINTAIN_PAUSED = 2,
}

/// The outcome of one maintenance.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_maintain_report {
    /// Bytes of this struct that the library wrote: a field beyond them is unknown to it.
    pub size: u64,
    /// A `zs_maintain_end`: why it ended.
    pub end: u64,
    /// Objects that were moved within the pool.
    pub objects_moved: u64,
    /// Page frames of the pool that were emptied by it, less those that it took.
    pub frames_freed: u64,
    /// Page frames that were moved to other pageblocks.
    pub frames_moved: u64,
    /// Page frames that could not be moved just then.
    pub frames_failed: u64,
    /// Pageblocks of 2 MiB that became free as a whole.
    pub blocks_freed: u64,
    /// Bytes that were copied.
    pub bytes_moved: u64,
    /// Bytes that were given back to the system.
    pub bytes_trimmed: u64,
}

// SAFETY: nine numbers without padding; all of them were in the first version.
unsafe impl Versioned for zs_maintain_report {
    const FIRST_SIZE: usize = 72;
    const NAME: &str = "zs_maintain_report";
}
const _: () = assert!(size_of::<zs_maintain_report>() == 72);

impl zs_maintain_report {
    fn new(size: u64, report: &MaintainReport) -> Self {
        let end = match report.end {
            MaintainEnd::Done => zs_maintain_end::ZS_MAINTAIN_DONE,
            // No caller of this interface stops one.
            MaintainEnd::Budget | MaintainEnd::Stopped => zs_maintain_end::ZS_MAINTAIN_BUDGET,
            MaintainEnd::Paused => zs_maintain_end::ZS_MAINTAIN_PAUSED,
        };
        Self {
            size,
            end: end as u64,
            objects_moved: report.objects_moved,
            frames_freed: report.frames_freed,
            frames_moved: report.frames_moved,
            frames_failed: report.frames_failed,
            blocks_freed: report.blocks_freed,
            bytes_moved: report.bytes_moved,
            bytes_trimmed: report.bytes_trimmed,
        }
    }
}

/// Keeps memory whole: moves objects together so that page frames empty, moves page frames to the
/// lower pageblocks of the arena so that the upper ones become free as a whole, and gives what is
/// free back to the system. Beside everything else that goes on; handles stay what they are; no
/// reader is waited for. Page frames of other pools of the arena stay where they are.
///
/// Copies about `max_bytes` bytes at most (`ZS_UNLIMITED` is no bound; 0 only gives back): call it
/// now and then, or after many frees. `report` may be NULL, else `size` is `sizeof *report`.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_INVALID`, `ZS_FORKED`; what was done is in the report.
///
/// # Safety
/// As for all functions: see `docs/c.md`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_maintain(
    pool: *mut zs_pool_t,
    max_bytes: u64,
    report: *mut zs_maintain_report,
    size: usize,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let entry = unsafe { POOLS.get(pool) }?;
        own(entry.pool.arena())?;
        let place = if report.is_null() {
            None
        } else {
            // SAFETY: by this function's contract.
            Some(unsafe { Answer::new(report, size) }?)
        };
        let done = entry.pool.maintain(MaintainBudget::bytes(max_bytes));
        // Relaxed: a counter.
        entry
            .frames_compacted
            .fetch_add(done.frames_freed, Ordering::Relaxed);
        if let Some(place) = place {
            place.fill(zs_maintain_report::new(place.known(), &done));
        }
        Ok(())
    })
}
