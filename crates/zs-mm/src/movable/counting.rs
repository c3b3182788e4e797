//! Moves and drains of an arena's frames, counted.

use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::arena::move_counters::{ZoneCounters, ZoneMoves, count};
use crate::backing::Backing;
use crate::frame::descriptor::{Descriptor, FrameOwner, PoolKey};
use crate::frame_status::MigrateReason;
use crate::size::{FrameId, ZoneId};
use zs_sync::{AtomicU64, Ordering};

impl<B: Backing> Arena<B> {
    /// Returns the counters of the zone of a frame.
    pub(crate) fn counters_of(&self, frame: FrameId) -> &ZoneCounters {
        let block = self.blocks.block_of(frame);
        self.move_counters.of(self.zone_id(block))
    }

    /// Returns how frames of a zone were moved; `None` if there is no such zone.
    pub fn zone_moves(&self, zone: ZoneId) -> Option<ZoneMoves> {
        let counters = self.move_counters.zone(zone)?;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (zone.index() < self.options.zones.count()).then(|| ZoneMoves {
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
        self.move_counters.because(reason).load(Ordering::Relaxed)
    }

    pub(super) fn count_reason(&self, reason: MigrateReason, moved: u64) {
        self.move_counters
            .because(reason)
            .fetch_add(moved, Ordering::Relaxed);
    }

    /// Counts a move from one frame to another.
    pub(super) fn count_move(&self, from: FrameId, to: FrameId) {
        let (source, destination) = (self.counters_of(from), self.counters_of(to));
        count(&source.isolated, -1);
        count(&source.moved_out, 1);
        count(&destination.moved_in, 1);
    }

    /// Marks an isolated frame whose contents were moved as draining, which ends its isolation: its
    /// owner's readers are still inside, and nobody can isolate it. For
    /// [`Movable::commit`](crate::Movable::commit). False, and no change, if it is not that
    /// owner's.
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

    /// Takes a frame back that drained: nobody is inside of it any more. `None`, and no change, if
    /// it is not that owner's, or does not drain.
    ///
    /// # Panics
    /// If the key is another arena's.
    pub fn end_drain(&self, frame: FrameId, key: &PoolKey, owner: FrameOwner) -> Option<Frame> {
        let drained = self.take_back(frame, key, Descriptor::draining(owner))?;
        count(&self.counters_of(frame).draining, -1);
        Some(drained)
    }
}
