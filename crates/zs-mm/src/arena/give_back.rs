//! Frames to the OS: trim, decay, huge advice.

use crate::arena::{Arena, ONE_COMMITTED};
use crate::backing::{Advice, Backing, RegionKind};
use crate::frame::mask::{FrameMask, MAX_RUNS};
use crate::size::wide;
use crate::zone::block::{BlockId, Blocks, FLAG_ADVISING, FLAG_HUGE, FLAG_RESERVED, NO_BLOCK};
use crate::zone::{FrameRun, LOOK_AT, Zone};
use core::ptr::NonNull;
use zs_sync::{Host, Ordering};

/// The outcome of a look for frames to give back.
#[derive(Debug)]
pub(crate) enum Surplus {
    /// These frames: decommit them, then call `finish_surplus`.
    Taken(TakenFrames),
    /// Nothing down to this block: look below it.
    LookBelow(BlockId),
    /// Nothing more in this zone.
    None,
}

/// Frames of one block that were taken to be given back.
#[derive(Debug)]
pub(crate) struct TakenFrames {
    pub(crate) block: BlockId,
    pub(crate) frames: FrameMask,
    /// The block is advised huge: advise it small first, then call `finish_advice`.
    pub(crate) huge: bool,
}

impl<B: Backing> Arena<B> {
    /// Gives every free frame back to the system, whatever its age; returns the bytes given back.
    ///
    /// Exact when nobody else allocates meanwhile: afterwards what is held is what is in use, but
    /// for frames whose granule is partly in use or that the system refused to take. Calls the
    /// backing once for each run of neighbouring frames.
    /// In a forked child nothing is given back.
    pub fn trim(&self) -> u64 {
        if self.is_forked() {
            return 0;
        }
        self.drain_caches();
        let give_back = |zone: &Zone| self.give_back(zone, usize::MAX, self.blocks.frames);
        self.zones.iter().map(give_back).sum()
    }

    /// As [`trim`](Self::trim), for whoever is short of memory: a run at a time, so that another
    /// thread that needs a frame meanwhile misses a run and not a pageblock.
    pub(crate) fn give_cached_back(&self) {
        self.drain_caches();
        for zone in &self.zones {
            self.give_back(zone, usize::MAX, self.frames_per_run());
        }
    }

    /// Gives back what nobody needed for `decay_ns`; returns the bytes given back.
    ///
    /// A program that falls idle calls it once after that time, and again after as long for what
    /// lay in caches (`zs-os` has a thread that does). The allocator itself does the same, a
    /// run of frames at a time, whenever frames pass through a zone. Costs a lock a zone and a
    /// look at the clock when nothing is due. A host without a clock never decays.
    pub fn decay(&self) -> u64 {
        self.decay_at_most(usize::MAX)
    }

    /// Does a bounded piece of [`decay`](Self::decay), for callers who came for something else.
    pub(crate) fn decay_a_little(&self) {
        self.decay_at_most(self.frames_per_run());
    }

    fn decay_at_most(&self, frames: usize) -> u64 {
        if self.is_forked() {
            return 0;
        }
        let interval = self.options.decay_ns;
        let due = |zone: &Zone| zone.is_tick_due(self.host, interval);
        if self.zones.iter().any(due) {
            // What lies in caches could be needed there: from now on it has to be needed again.
            self.drain_caches();
        }
        let decay = |zone: &Zone| {
            zone.tick(self.host, interval);
            match zone.take_due(self.host, frames) {
                0 => 0,
                due => self.give_back(zone, due, self.frames_per_run()),
            }
        };
        self.zones.iter().map(decay).sum()
    }

    /// Decommits at most `frames` free frames of a zone, at most `at_a_time` of them together.
    pub(crate) fn give_back(&self, zone: &Zone, frames: usize, at_a_time: usize) -> u64 {
        let group = self.frames_per_granule();
        // No more than there is now: others may free as fast as this gives back.
        let ready = zone.lock(self.host).ready();
        let (mut left, mut gone, mut below) = (frames.min(ready), 0, NO_BLOCK);
        while left >= group {
            let limit = left.min(at_a_time.max(group));
            match zone.take_surplus(self.host, &self.blocks, group, limit, below) {
                Surplus::None => break,
                Surplus::LookBelow(block) => below = block,
                Surplus::Taken(taken) => {
                    let given = self.decommit(zone, &taken);
                    left -= taken.frames.count();
                    gone += given.count();
                    let kept = taken.frames.without(given);
                    zone.finish_surplus(self.host, &self.blocks, &taken, kept);
                    // A block that keeps what it was asked for is not asked again.
                    below = if kept.is_empty() {
                        taken.block.above()
                    } else {
                        taken.block
                    };
                }
            }
        }
        wide(gone * self.options.page_size.bytes())
    }

    /// Decommits the runs of a set of frames that nobody else has; returns those that are gone.
    pub(crate) fn decommit(&self, zone: &Zone, taken: &TakenFrames) -> FrameMask {
        let block = taken.block;
        if taken.huge {
            self.advise(block, Advice::Small);
            zone.finish_advice(self.host, &self.blocks, block, Advice::Small);
        }
        let mut places = [(NonNull::dangling(), 0); MAX_RUNS];
        let mut count = 0;
        for (place, (start, len)) in places.iter_mut().zip(taken.frames.runs()) {
            *place = self.place_of(FrameRun { block, start, len });
            count += 1;
        }
        let mut gone = FrameMask::default();
        let mut runs = taken.frames.runs();
        let mut left = &places[..count];
        while !left.is_empty() {
            // SAFETY: whole granules of the payload region, taken out of the zone as free frames:
            // nobody reads or writes them, and no other thread commits or decommits them.
            let done = unsafe { self.backing.decommit_runs(RegionKind::Payload, left) };
            for (start, len) in runs.by_ref().take(done) {
                gone = gone.or(FrameMask::range(start, len));
            }
            // The one that was refused, if any, stays.
            let _ = runs.next();
            left = left.get(done + 1..).unwrap_or_default();
        }
        self.budget
            .refund(wide(gone.count() * self.options.page_size.bytes()));
        // Relaxed: see `usage`.
        self.usage
            .fetch_sub(wide(gone.count()) * ONE_COMMITTED, Ordering::Relaxed);
        gone
    }

    /// Advises a block huge if every frame of it is handed out; no frame of it is given back
    /// meanwhile.
    pub(crate) fn advise_if_full(&self, block: BlockId) {
        let zone = self.zone_of(block);
        if zone.begin_huge(self.host, &self.blocks, block) {
            self.advise(block, Advice::Huge);
            zone.finish_advice(self.host, &self.blocks, block, Advice::Huge);
        }
    }

    pub(crate) fn advise(&self, block: BlockId, advice: Advice) {
        let (place, len) = self.place_of(FrameRun {
            block,
            start: 0,
            len: self.blocks.frames,
        });
        // SAFETY: the range is one whole pageblock of the payload region.
        unsafe { self.backing.advise(place, len, advice) };
    }
}

impl Zone {
    /// Takes up to `limit` free committed frames of one block, in whole groups of `group`, to be
    /// given back. Looks at the blocks below `below`, the highest first, so that the upper ones
    /// empty; at most [`LOOK_AT`] of them in one hold of the lock.
    pub(crate) fn take_surplus(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        group: usize,
        limit: usize,
        below: BlockId,
    ) -> Surplus {
        let mut state = self.lock(host);
        let opened = self.opened(&state);
        let mut next = below.min(opened.end);
        if state.ready() < group {
            return Surplus::None;
        }
        for _ in 0..LOOK_AT {
            if next == opened.start {
                return Surplus::None;
            }
            next = next.below();
            let flags = blocks.flags(next);
            let frames = blocks.ready(next).whole_groups(group, limit);
            if flags & (FLAG_ADVISING | FLAG_RESERVED) == 0 && !frames.is_empty() {
                let huge = flags & FLAG_HUGE != 0;
                // Until the block has been advised small, nobody else gives back anything of it.
                if huge {
                    blocks.change_flags(next, FLAG_ADVISING, FLAG_HUGE);
                }
                // Neither free nor committed: no other thread can count on these frames, nor take
                // the block for a full one.
                state.change(blocks, next, |free, committed| {
                    (free.without(frames), committed.without(frames))
                });
                return Surplus::Taken(TakenFrames {
                    block: next,
                    frames,
                    huge,
                });
            }
        }
        Surplus::LookBelow(next)
    }

    /// Ends a decommit: of the frames that were taken, those in `kept` still have memory.
    pub(crate) fn finish_surplus(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        taken: &TakenFrames,
        kept: FrameMask,
    ) {
        self.lock(host)
            .change(blocks, taken.block, |free, committed| {
                (free.or(taken.frames), committed.or(kept))
            });
    }

    /// Begins a new interval if one has passed: what nobody needed in the last is then due.
    pub(crate) fn tick(&self, host: &dyn Host, interval_ns: u64) {
        let now = host.now_ns();
        self.lock(host).tick(now, interval_ns);
    }

    /// Says whether a tick would begin a new interval.
    pub(crate) fn is_tick_due(&self, host: &dyn Host, interval_ns: u64) -> bool {
        let now = host.now_ns();
        self.lock(host).is_tick_due(now, interval_ns)
    }

    /// Takes up to `most` of the frames that are due to be given back off the account; what was
    /// needed since is not due any more.
    pub(crate) fn take_due(&self, host: &dyn Host, most: usize) -> usize {
        self.lock(host).take_due(most)
    }

    /// If every frame of `block` is taken and nobody advises it yet, marks it and returns true:
    /// the caller advises it huge, then calls
    /// [`finish_advice`](Self::finish_advice).
    pub(crate) fn begin_huge(&self, host: &dyn Host, blocks: &Blocks, block: BlockId) -> bool {
        let _state = self.lock(host);
        let full = blocks.free(block).is_empty()
            && blocks.committed(block).count() == blocks.frames
            && blocks.flags(block) & (FLAG_ADVISING | FLAG_HUGE) == 0;
        if full {
            blocks.change_flags(block, FLAG_ADVISING, 0);
        }
        full
    }

    /// Ends the advising of a block, by [`begin_huge`](Self::begin_huge) or before a decommit.
    pub(crate) fn finish_advice(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        block: BlockId,
        advice: Advice,
    ) {
        let _state = self.lock(host);
        let huge = match advice {
            Advice::Huge => FLAG_HUGE,
            Advice::Small => 0,
        };
        blocks.change_flags(block, huge, FLAG_ADVISING);
    }
}
