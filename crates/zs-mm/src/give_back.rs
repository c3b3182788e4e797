//! Frames to the OS: trim, decay, huge advice.

use crate::arena::Arena;
use crate::backing::{Advice, Backing, RegionKind};
use crate::block::BlockId;
use crate::mask::FrameMask;
use crate::zone::{FrameRun, Zone};

impl<B: Backing> Arena<B> {
    /// Gives every free frame back to the system, whatever its age; returns the bytes given back.
    ///
    /// Exact when nobody else allocates meanwhile: afterwards what is held is what is in use, but
    /// for frames whose granule is partly in use or that the system refused to take. Calls the
    /// backing once for each run of neighbouring frames.
    pub fn trim(&self) -> u64 {
        self.drain_caches();
        let give_back = |zone: &Zone| self.give_back(zone, usize::MAX);
        self.zones.iter().map(give_back).sum()
    }

    /// Gives back what nobody needed for `decay_ns`; returns the bytes given back.
    ///
    /// Called by the allocator itself whenever frames go to or come from a zone; a program that
    /// falls idle calls it once after that time, and again after as long for what lay in caches
    /// (`zs-os` has a thread that does). Costs a lock a zone and a look at the clock when nothing is
    /// due. A host without a clock never decays.
    pub fn decay(&self) -> u64 {
        let interval = self.options.decay_ns;
        let due = |zone: &Zone| zone.is_tick_due(self.host, interval);
        if !self.zones.iter().any(due) {
            return 0;
        }
        // What lies in caches could be needed there: from now on it has to be needed again.
        self.drain_caches();
        let give_back = |zone: &Zone| self.give_back(zone, zone.tick(self.host));
        self.zones.iter().map(give_back).sum()
    }

    /// Decommits at most `frames` free frames of a zone.
    fn give_back(&self, zone: &Zone, frames: usize) -> u64 {
        let group = self.frames_per_granule();
        let mut left = frames;
        let mut bytes = 0;
        while let Some((block, surplus, huge)) =
            zone.take_surplus(self.host, &self.blocks, group, left)
        {
            left -= surplus.count();
            let gone = self.decommit(block, surplus, huge);
            let kept = surplus.without(gone);
            zone.finish_surplus(self.host, &self.blocks, block, gone, kept);
            bytes += (gone.count() * self.options.page_size.bytes()) as u64;
            if !kept.is_empty() {
                break;
            }
        }
        bytes
    }

    /// Decommits the runs of a set of frames that nobody else has; returns those that are gone.
    fn decommit(&self, block: BlockId, frames: FrameMask, huge: bool) -> FrameMask {
        if huge {
            self.advise(block, Advice::Small);
        }
        let mut gone = FrameMask::default();
        for (start, len) in frames.runs() {
            let (place, bytes) = self.place_of(FrameRun { block, start, len });
            // SAFETY: whole granules of the payload region, taken out of the zone as free frames:
            // nobody reads or writes them, and no other thread commits or decommits them.
            let outcome = unsafe { self.backing.decommit(RegionKind::Payload, place, bytes) };
            if outcome.is_ok() {
                self.budget.refund(bytes as u64);
                gone = gone.or(FrameMask::range(start, len));
            }
        }
        gone
    }

    /// Advises a block huge if every frame of it is in use; no frame of it is given back meanwhile.
    pub(crate) fn advise_if_full(&self, block: BlockId) {
        let zone = self.zone_of(block);
        if zone.begin_huge(self.host, &self.blocks, block) {
            self.advise(block, Advice::Huge);
            zone.finish_huge(self.host, &self.blocks, block);
        }
    }

    fn advise(&self, block: BlockId, advice: Advice) {
        let (place, len) = self.place_of(FrameRun {
            block,
            start: 0,
            len: self.blocks.frames,
        });
        // SAFETY: the range is one whole pageblock of the payload region.
        unsafe { self.backing.advise(place, len, advice) };
    }
}
