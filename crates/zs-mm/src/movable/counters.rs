//! What is isolated, draining, moved: by zone, and by reason.

use super::status::MigrateReason;
use crate::arena::{Arena, MAX_ZONES};
use crate::backing::Backing;
use crate::block::BlockId;
use crate::descriptor::{Descriptor, FrameOwner, PoolKey};
use crate::frame::Frame;
use crate::size::{FrameId, ZoneId};
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

/// How frames of one zone were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneMoves {
    /// Frames that are isolated now: 0 when nobody moves any.
    pub isolated: u64,
    /// Frames whose contents have been moved, and that somebody is still reading: they count as in use.
    pub draining: u64,
    /// Frames of this zone that something was moved to, from this zone or another.
    pub moved_in: u64,
    /// Frames of this zone whose contents were moved.
    pub moved_out: u64,
    /// Frames that could not be moved.
    pub failed: u64,
    /// How often a frame had to be tried again.
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

impl<B: Backing> Arena<B> {
    /// Returns the counters of the zone of a frame.
    pub(crate) fn counters_of(&self, frame: FrameId) -> &ZoneCounters {
        let block = (frame.index() / self.blocks.frames) as BlockId;
        &self.move_counters.zones[self.zone_index(block)]
    }

    /// Returns how frames of a zone were moved; `None` if there is no such zone.
    pub fn zone_moves(&self, zone: ZoneId) -> Option<ZoneMoves> {
        let counters = self.move_counters.zones.get(zone.0 as usize)?;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ((zone.0 as usize) < self.options.zones.count()).then(|| ZoneMoves {
            isolated: get(&counters.isolated),
            draining: get(&counters.draining),
            moved_in: get(&counters.moved_in),
            moved_out: get(&counters.moved_out),
            failed: get(&counters.failed),
            retried: get(&counters.retried),
            blocks_moved: get(&counters.blocks_moved),
            blocks_split: get(&counters.blocks_split),
        })
    }

    /// Returns the number of frames that were moved for a reason.
    pub fn moved_because(&self, reason: MigrateReason) -> u64 {
        self.move_counters.reasons[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_reason(&self, reason: MigrateReason, moved: u64) {
        self.move_counters.reasons[reason as usize].fetch_add(moved, Ordering::Relaxed);
    }

    /// Counts a move from one frame to another.
    pub(super) fn count_move(&self, from: FrameId, to: FrameId) {
        let (source, destination) = (self.counters_of(from), self.counters_of(to));
        count(&source.isolated, -1);
        count(&source.moved_out, 1);
        count(&destination.moved_in, 1);
    }

    /// Marks an isolated frame whose contents were moved as draining, which ends its isolation: its owner's
    /// readers are still inside, and nobody can isolate it. For [`Movable::commit`](crate::Movable::commit).
    /// False, and no change, if it is not that owner's.
    ///
    /// # Panics
    /// If the key is another arena's, or the owner another pool.
    pub fn begin_drain(&self, frame: FrameId, key: &PoolKey, owner: FrameOwner) -> bool {
        let owned = Descriptor::owned(owner);
        let done = self.exchange_descriptor(frame, key, owned, Descriptor::draining(owner));
        if done {
            count(&self.counters_of(frame).draining, 1);
        }
        done
    }

    /// Takes a frame back that drained: nobody is inside of it any more. `None`, and no change, if it is not that
    /// owner's, or does not drain.
    ///
    /// # Panics
    /// If the key is another arena's.
    pub fn end_drain(&self, frame: FrameId, key: &PoolKey, owner: FrameOwner) -> Option<Frame> {
        let drained = self.take_back(frame, key, Descriptor::draining(owner))?;
        count(&self.counters_of(frame).draining, -1);
        Some(drained)
    }
}
