//! What is isolated, draining, moved: by zone, and by reason.

use crate::frame_status::MigrateReason;
use crate::size::{MAX_ZONES, ZoneId};
use zs_sync::{AtomicU64, Ordering};

/// The counters of one zone. They publish nothing, so every access is relaxed.
#[derive(Debug, Default)]
pub(crate) struct ZoneCounters {
    pub(crate) isolated: AtomicU64,
    pub(crate) draining: AtomicU64,
    pub(crate) moved_in: AtomicU64,
    pub(crate) moved_out: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) blocks_moved: AtomicU64,
    pub(crate) blocks_split: AtomicU64,
}

/// The counters of an arena's moves.
#[derive(Debug, Default)]
pub(crate) struct MoveCounters {
    zones: [ZoneCounters; MAX_ZONES],
    reasons: [AtomicU64; MigrateReason::COUNT],
}

/// The moves of one zone's frames, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneMoves {
    /// Frames that are isolated now: 0 when nobody moves any.
    pub isolated: u64,
    /// Frames whose contents have been moved, and that somebody is still reading: they count as in
    /// use.
    pub draining: u64,
    /// Frames of this zone that something was moved to, from this zone or another.
    pub moved_in: u64,
    /// Frames of this zone whose contents were moved.
    pub moved_out: u64,
    /// Frames that could not be moved.
    pub failed: u64,
    /// Attempts to move a frame that were made again.
    pub retried: u64,
    /// Whole pageblocks that were moved as one.
    pub blocks_moved: u64,
    /// Pageblocks that were to be moved as one, and were moved frame by frame instead.
    pub blocks_split: u64,
}

/// Changes a counter.
pub(crate) fn count(counter: &AtomicU64, change: i64) {
    let before = counter.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    debug_assert!(
        before.checked_add_signed(change).is_some(),
        "a counter below zero"
    );
}

impl MoveCounters {
    /// Returns the counters of a zone, if it can be one.
    pub(crate) fn zone(&self, zone: ZoneId) -> Option<&ZoneCounters> {
        self.zones.get(zone.index())
    }

    /// Returns the counters of a zone that there is.
    pub(crate) fn of(&self, zone: ZoneId) -> &ZoneCounters {
        &self.zones[zone.index()]
    }

    /// Returns the frames that were moved for a reason.
    pub(crate) fn because(&self, reason: MigrateReason) -> &AtomicU64 {
        &self.reasons[reason as usize]
    }
}
