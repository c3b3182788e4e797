//! Frames allocated and freed: from a cache, a zone, or by committing a run.

use crate::arena::{Arena, ONE_COMMITTED, ONE_IN_USE};
use crate::backing::{Advice, Backing, RegionKind};
use crate::error::Error;
use crate::frame::cache::FrameBatch;
use crate::frame::descriptor::{Descriptor, LOCKED};
use crate::size::{FrameId, ZoneId, wide};
use crate::zone::block::BlockId;
use crate::zone::{CommitPlan, FrameRun, Zone};
use zs_sync::{Ordering, assert_may_block};

/// A frame that its holder must attach or give back.
///
/// Not `Copy`, and it knows its arena: a frame can be given back once, where it came from.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped is lost until its arena goes"]
pub struct Frame {
    pub(crate) id: FrameId,
    pub(crate) arena: u32,
}

impl Frame {
    /// Returns the frame's number.
    pub fn id(&self) -> FrameId {
        self.id
    }
}

impl<B: Backing> Arena<B> {
    /// Allocates a frame of committed memory, with whatever bytes it held last.
    ///
    /// From this CPU's cache in the common case; else from the first zone that has a free frame, or
    /// can commit a run of frames. May call the backing.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached or the backing refuses, and no cache or zone has
    /// a free frame left. Frames that other threads are just committing or giving back count as
    /// gone: a run of 128 KiB or 4 frames each, a pageblock's under [`trim`](Self::trim) and in a
    /// huge zone.
    pub fn alloc_frame(&self) -> Result<Frame, Error> {
        let frame = match self.cache().pop(self.host) {
            Some(frame) => frame,
            None => self.alloc_slow()?,
        };
        Ok(self.hand_out(frame))
    }

    /// Makes a frame that was taken out of a cache or zone its caller's.
    pub(crate) fn hand_out(&self, frame: FrameId) -> Frame {
        // Relaxed: whoever frees and whoever allocates a frame are ordered by cache or zone lock.
        let before = self
            .descriptor(frame)
            .fetch_or(Descriptor::UNOWNED.0, Ordering::Relaxed);
        debug_assert_eq!(
            Descriptor(before).at_rest(),
            Descriptor::FREE,
            "an allocated frame was free"
        );
        // Relaxed: see `usage`.
        self.usage.fetch_add(ONE_IN_USE, Ordering::Relaxed);
        Frame {
            id: frame,
            arena: self.id,
        }
    }

    /// Gives a frame back. It stays committed, in a cache or zone, until trim or decay; an
    /// overflowing cache passes through its zone, and a few frames that are due may go to the
    /// backing.
    ///
    /// # Panics
    /// If the frame is another arena's.
    pub fn free_frame(&self, frame: Frame) {
        assert_eq!(frame.arena, self.id, "a frame of another arena");
        // Relaxed: see `hand_out`.
        let before = self
            .descriptor(frame.id)
            .fetch_and(LOCKED, Ordering::Relaxed);
        debug_assert_eq!(
            Descriptor(before).at_rest(),
            Descriptor::UNOWNED,
            "a freed frame has no owner"
        );
        self.usage.fetch_sub(ONE_IN_USE, Ordering::Relaxed);
        let overflow = if self.is_cached(frame.id) {
            self.cache().push(self.host, &self.caches_off, frame.id)
        } else {
            FrameBatch::of_one(frame.id)
        };
        if !overflow.is_empty() {
            self.put(&overflow);
            self.decay_a_little();
        }
    }

    #[cold]
    fn alloc_slow(&self) -> Result<FrameId, Error> {
        assert_may_block();
        self.decay_a_little();
        let zones = self.zones();
        let mut outcome = Err(Error::NoMemory);
        for zone in self.zones() {
            outcome = self.alloc_in(zone);
            if outcome.is_ok() {
                return outcome;
            }
        }
        // Frames may lie in other CPUs' caches.
        self.drain_caches();
        let mut found = zones.filter_map(|zone| self.take_ready(zone, 1));
        found.next().map_or(outcome, Ok)
    }

    /// Takes a frame of one zone, committed or not yet.
    fn alloc_in(&self, zone: ZoneId) -> Result<FrameId, Error> {
        let want = FrameBatch::capacity(self.options.page_size) / 2;
        match self.take_ready(zone, want) {
            Some(frame) => Ok(frame),
            None => {
                let run = self.commit_run(zone)?;
                // Never from the zone again: another thread may have emptied it meanwhile.
                self.keep_one(zone, run).ok_or(Error::NoMemory)
            }
        }
    }

    /// Takes free committed frames of a zone; all but one go to the cache.
    fn take_ready(&self, zone: ZoneId, want: usize) -> Option<FrameId> {
        let batch = self.zones[zone.index()].take_ready(self.host, &self.blocks, want);
        self.keep_one(zone, batch)
    }

    /// Commits a run of frames of a zone. Those beyond a handful go to the zone; there is at least
    /// one.
    pub(crate) fn commit_run(&self, zone: ZoneId) -> Result<FrameBatch, Error> {
        let group = self.frames_per_granule();
        let want = if self.is_huge(zone) {
            self.blocks.frames
        } else {
            self.frames_per_run()
        };
        let run = self.charge_run(self.plan_run(zone, want)?)?;
        let run = match self.commit_frames(run) {
            Ok(()) => run,
            // The system may have less left than a run: try the least there is.
            Err(error) if run.len == group => return Err(error),
            Err(_) => {
                let least = self.charge_run(self.plan_run(zone, group)?)?;
                self.commit_frames(least)?;
                least
            }
        };
        let mut rest = FrameBatch::default();
        for frame in run.frames(&self.blocks) {
            if rest.len() == FrameBatch::CAPACITY {
                // A granule of many frames.
                self.put(&core::mem::take(&mut rest));
            }
            rest.push(frame);
        }
        Ok(rest)
    }

    /// Takes neighbouring frames of a zone that have no memory.
    pub(crate) fn plan_run(&self, zone: ZoneId, want: usize) -> Result<FrameRun, Error> {
        let group = self.frames_per_granule();
        let zone = &self.zones[zone.index()];
        loop {
            match zone.plan_commit(self.host, &self.blocks, want, group) {
                CommitPlan::Run(run) => return Ok(run),
                CommitPlan::Exhausted => return Err(Error::NoMemory),
                CommitPlan::NeedsBlock(block) => self.open_block(zone, block)?,
            }
        }
    }

    /// Opens the next block of a zone: commits what describes it.
    pub(crate) fn open_block(&self, zone: &Zone, block: BlockId) -> Result<(), Error> {
        let last_frame = self.blocks.frame(block.above(), 0).index() - 1;
        let (backing, budget) = (&self.backing, &self.budget);
        self.descriptors.ensure(backing, budget, last_frame)?;
        let last_cell = self.blocks.last_cell(block);
        self.blocks.table().ensure(backing, budget, last_cell)?;
        zone.open_block(self.host, &self.blocks, block);
        Ok(())
    }

    /// Charges as much of a run as the limit allows; the rest of it is free again.
    pub(crate) fn charge_run(&self, run: FrameRun) -> Result<FrameRun, Error> {
        let page = wide(self.options.page_size.bytes());
        let unit = page.max(wide(self.backing.granule()));
        let charged = self.budget.charge_up_to(wide(run.len) * page, unit);
        let len = (charged / page) as usize;
        if len < run.len {
            let rest = FrameRun {
                start: run.start + len,
                len: run.len - len,
                ..run
            };
            self.zone_of(run.block)
                .finish_commit(self.host, &self.blocks, rest, false);
        }
        if len == 0 {
            return Err(Error::NoMemory);
        }
        Ok(FrameRun { len, ..run })
    }

    /// Commits a run whose charge is taken; gives charge and frames back if that fails.
    pub(crate) fn commit_frames(&self, run: FrameRun) -> Result<(), Error> {
        let (place, len) = self.place_of(run);
        let zone_id = self.zone_id(run.block);
        // Only a whole block: of a part of one, the system would make more resident than is
        // charged.
        let huge = self.is_huge(zone_id) && run.len == self.blocks.frames;
        if huge {
            self.advise(run.block, Advice::Huge);
        }
        // SAFETY: the run consists of whole granules of the payload region, and `plan_run` took
        // its frames out of the zone, so that no other thread commits or decommits them.
        let outcome = unsafe { self.backing.commit(RegionKind::Payload, place, len) };
        match outcome {
            // Relaxed: see `usage`.
            Ok(()) => drop(
                self.usage
                    .fetch_add(wide(run.len) * ONE_COMMITTED, Ordering::Relaxed),
            ),
            Err(_) => self.budget.refund(wide(len)),
        }
        if huge && outcome.is_err() {
            self.advise(run.block, Advice::Small);
        }
        let zone = &self.zones[zone_id.index()];
        zone.finish_commit(self.host, &self.blocks, run, outcome.is_ok());
        if huge && outcome.is_ok() {
            // All of it is still the caller's, so nothing is given back before this is noted.
            zone.finish_advice(self.host, &self.blocks, run.block, Advice::Huge);
        }
        outcome.map_err(|_| Error::NoMemory)
    }

    fn keep_one(&self, zone: ZoneId, mut batch: FrameBatch) -> Option<FrameId> {
        let frame = batch.pop()?;
        if self.is_cached(frame) {
            self.cache().fill(self.host, &self.caches_off, &mut batch);
        }
        if !batch.is_empty() {
            self.put(&batch);
        }
        if self.options.huge_blocks || self.is_huge(zone) {
            self.advise_if_full(self.blocks.block_of(frame));
        }
        Some(frame)
    }
}
