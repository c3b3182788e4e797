//! Frames without memory: taken, stripped of it, freed.

use crate::arena::frames::Frame;
use crate::arena::{Arena, ONE_COMMITTED, ONE_IN_USE};
use crate::backing::{Backing, RegionKind};
use crate::error::Error;
use crate::frame::descriptor::{Descriptor, LOCKED};
use crate::size::{FrameId, wide};
use crate::zone::FrameRun;
use zs_sync::Ordering;

impl<B: Backing> Arena<B> {
    /// Takes neighbouring free frames without memory, and charges them.
    pub(super) fn take_bare(&self, most: usize) -> Result<FrameRun, Error> {
        let plans = self.zones().map(|zone| self.plan_run(zone, most));
        let plan = plans
            .into_iter()
            .find(Result::is_ok)
            .ok_or(Error::NoMemory)??;
        let run = self.charge_run(plan)?;
        // Relaxed: see `usage`.
        self.ballooned.fetch_add(wide(run.len), Ordering::Relaxed);
        Ok(run)
    }

    /// Takes the memory of a frame in use, which nobody reads or writes; it stays charged. Where
    /// that is refused, or a commit is larger than a frame, it keeps its memory.
    pub(super) fn strip(&self, frame: FrameId) {
        if self.frames_per_granule() > 1 {
            return;
        }
        let run = self.run_of(frame);
        let (place, len) = self.place_of(run);
        // SAFETY: a granule of the payload region, of a frame in use that its owner neither reads
        // nor writes; no other thread commits or decommits frames in use.
        if unsafe { self.backing.decommit(RegionKind::Payload, place, len) }.is_err() {
            return;
        }
        // Relaxed: see `usage`.
        self.usage
            .fetch_sub(ONE_COMMITTED + ONE_IN_USE, Ordering::Relaxed);
        self.ballooned.fetch_add(1, Ordering::Relaxed);
        self.zone_of(run.block)
            .lose_memory(self.host, &self.blocks, run);
    }

    /// Takes a frame out of a balloon: free again if it has no memory, else its caller's.
    pub(super) fn leave_balloon(&self, frame: FrameId) -> Option<Frame> {
        let run = self.run_of(frame);
        let zone = self.zone_of(run.block);
        if zone.has_memory(self.host, &self.blocks, run) {
            // Relaxed: the balloon's lock ordered those who had it.
            let unowned = |descriptor| Some(Descriptor::UNOWNED.0 | descriptor & LOCKED);
            let descriptor = self.descriptor(frame);
            let _ = descriptor.fetch_update(Ordering::Relaxed, Ordering::Relaxed, unowned);
            return Some(Frame {
                id: frame,
                arena: self.id,
            });
        }
        // Relaxed: as above.
        self.descriptor(frame).fetch_and(LOCKED, Ordering::Relaxed);
        self.free_bare(frame);
        None
    }

    /// Frees a frame without memory that nobody owns any more, and its charge.
    pub(super) fn free_bare(&self, frame: FrameId) {
        let run = self.run_of(frame);
        // Relaxed: see `usage`.
        self.ballooned.fetch_sub(1, Ordering::Relaxed);
        self.budget.refund(wide(self.options.page_size.bytes()));
        self.zone_of(run.block)
            .finish_commit(self.host, &self.blocks, run, false);
    }
}
