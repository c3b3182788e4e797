//! Frames and zones that go out of use.
//!
//! Data model: a frame: `moved away -> taken out of its zone -> decommitted -> of type offline`,
//! for good; a zone: `Online -> Leaving (nothing is handed out) -> moved away -> decommitted ->
//! Offline -> Online`.
//!
//! # Locking
//!
//! One hold of the zone's lock for each block; none while something is moved or given back.

use crate::arena::Arena;
use crate::arena::give_back::TakenFrames;
use crate::backing::Backing;
use crate::error::Error;
use crate::frame::descriptor::{Descriptor, FrameType};
use crate::frame::mask::FrameMask;
use crate::frame_status::{FrameStatus, MigrateReason};
use crate::movable::Movable;
use crate::policy::clear::in_the_way;
use crate::size::{FrameId, ZoneId, wide};
use crate::zone::block::{BlockId, Blocks, FLAG_ADVISING, FLAG_HUGE};
use crate::zone::state::ZoneLife;
use crate::zone::{FrameRun, Zone};
use zs_sync::{Host, Ordering, assert_may_block};

/// A zone that is on its way offline; online again when this is dropped, unless it got there.
struct Leaving<'a> {
    zone: &'a Zone,
    host: &'a dyn Host,
    to: ZoneLife,
}

impl<B: Backing> Arena<B> {
    /// Takes a frame out of use for good, as one that has gone bad: moves its contents away, gives
    /// its memory back, and never hands it out again. With it go the frames that share its
    /// granule, since the system takes no less.
    ///
    /// Calls the backing; waits for owners who are busy, up to a limit.
    ///
    /// # Errors
    /// [`Error::InvalidRange`] beyond the arena; [`Error::InTheWay`] if a frame cannot be moved, is
    /// busy (to be tried again) or offline already; [`Error::NotGivenBack`] if the system does
    /// not take the memory; [`Error::NoMemory`] if there is nowhere to move to;
    /// [`Error::ZoneOffline`], [`Error::MovesPaused`], [`Error::Forked`]. The frame is then as
    /// it was, or its contents are elsewhere.
    pub fn offline_frame(&self, frame: FrameId, owners: &[&dyn Movable]) -> Result<(), Error> {
        assert_may_block();
        let invalid = Error::InvalidRange {
            first: frame,
            frames: 1,
        };
        let zone = self.zone_of_frame(frame).ok_or(invalid)?;
        if !self.is_online(zone)? {
            return Err(Error::ZoneOffline(zone));
        }
        let (block, len) = (self.block_of(frame), self.frames_per_granule());
        let start = frame.index() % self.blocks.frames / len * len;
        self.open_up_to(zone, block)?;
        let busy = |_| in_the_way(frame, FrameStatus::Busy);
        let reserved = self.reserve_blocks(block..block.above()).map_err(busy)?;
        let wanted = FrameMask::range(start, len);
        let part = core::iter::once((block, wanted));
        self.clear(part, owners, MigrateReason::Offline)?;
        let outcome = self.take_offline(FrameRun { block, start, len });
        drop(reserved);
        outcome
    }

    /// Returns the number of bytes of frames that are out of use for good.
    pub(crate) fn offline_bytes(&self) -> u64 {
        // Relaxed: a sum that publishes nothing.
        let frames = self.offline.load(Ordering::Relaxed);
        frames << self.options.page_size.shift()
    }

    /// Takes free frames, whole granules of a reserved block, out of their zone, and their memory
    /// from them.
    fn take_offline(&self, run: FrameRun) -> Result<(), Error> {
        let zone = self.zone_of(run.block);
        let frames = FrameMask::range(run.start, run.len);
        let taken = zone.take_out(self.host, &self.blocks, run.block, frames);
        let first = self.frame_of(run.block, run.start);
        let taken = taken.ok_or(in_the_way(first, FrameStatus::Busy))?;
        let kept = taken.frames.without(self.decommit(zone, &taken));
        if !kept.is_empty() {
            let back = TakenFrames { frames, ..taken };
            zone.finish_surplus(self.host, &self.blocks, &back, kept);
            return Err(Error::NotGivenBack);
        }
        for frame in frames.iter().map(|frame| self.frame_of(run.block, frame)) {
            // Relaxed: nobody has the frame, and nobody will.
            let offline = Descriptor::unowned(FrameType::Offline);
            let before = self
                .descriptor(frame)
                .fetch_or(offline.0, Ordering::Relaxed);
            debug_assert_eq!(
                Descriptor(before).at_rest(),
                Descriptor::FREE,
                "a frame that was taken was free"
            );
        }
        // Relaxed: see `offline_bytes`.
        self.offline.fetch_add(wide(run.len), Ordering::Relaxed);
        Ok(())
    }

    /// Empties a zone and takes it out of use: moves everything in it to other zones, and gives all
    /// of its memory back. Its metadata stays.
    ///
    /// From the call on the zone hands nothing out. Calls the backing; waits for owners who are
    /// busy, up to a limit. If it fails the zone is online again; some of what was in it may be
    /// elsewhere.
    ///
    /// # Errors
    /// [`Error::NoSuchZone`], [`Error::ZoneOffline`] if it is already, [`Error::ZoneLeaving`] if
    /// somebody else is at it; [`Error::InTheWay`] with a frame that cannot be moved, or is
    /// busy: to be tried again; [`Error::NoMemory`] if the other zones have no room;
    /// [`Error::NotGivenBack`] if the system does not take the memory; [`Error::MovesPaused`],
    /// [`Error::Forked`].
    pub fn offline_zone(&self, id: ZoneId, owners: &[&dyn Movable]) -> Result<(), Error> {
        assert_may_block();
        let zone = self.zone(id)?;
        let mut leaving = match zone.change_life(self.host, ZoneLife::Online, ZoneLife::Leaving) {
            Ok(()) => Leaving {
                zone,
                host: self.host,
                to: ZoneLife::Online,
            },
            Err(ZoneLife::Leaving) => return Err(Error::ZoneLeaving(id)),
            Err(_) => return Err(Error::ZoneOffline(id)),
        };
        let _off = self.caches_off();
        let opened = zone.opened(&zone.lock(self.host));
        let all = FrameMask::range(0, self.blocks.frames);
        let parts = BlockId::each(opened).map(|block| (block, all.without(self.offline_of(block))));
        self.clear(parts.clone(), owners, MigrateReason::Offline)?;
        self.give_back(zone, usize::MAX, self.blocks.frames);
        for (block, wanted) in parts {
            let (free, committed) = zone.bitmaps(self.host, &self.blocks, block);
            if let Some(frame) = wanted.without(free).first() {
                return Err(in_the_way(self.frame_of(block, frame), FrameStatus::Busy));
            }
            if !committed.is_empty() {
                return Err(Error::NotGivenBack);
            }
        }
        leaving.to = ZoneLife::Offline;
        Ok(())
    }

    /// Puts a zone that is offline to use again; nothing happens to one that is online. Frames that
    /// went offline one by one stay so.
    ///
    /// # Errors
    /// [`Error::NoSuchZone`]; [`Error::ZoneLeaving`] if it is just on its way offline;
    /// [`Error::Forked`].
    pub fn online_zone(&self, id: ZoneId) -> Result<(), Error> {
        let zone = self.zone(id)?;
        match zone.change_life(self.host, ZoneLife::Offline, ZoneLife::Online) {
            Ok(()) | Err(ZoneLife::Online) => Ok(()),
            Err(_) => Err(Error::ZoneLeaving(id)),
        }
    }

    /// Returns the frames of a block that are out of use for good.
    pub(crate) fn offline_of(&self, block: BlockId) -> FrameMask {
        let mut offline = FrameMask::default();
        for frame in 0..self.blocks.frames {
            let descriptor = self.frame_descriptor(self.frame_of(block, frame));
            let is_offline = |word: Descriptor| word.frame_type() == FrameType::Offline;
            if descriptor.is_some_and(is_offline) {
                offline.insert(frame);
            }
        }
        offline
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        // Whoever else looks at a zone that is leaving lets it be.
        let _ = self.zone.change_life(self.host, ZoneLife::Leaving, self.to);
    }
}

impl Zone {
    /// Changes the life of a zone; the error is what it is, if that is not `from`.
    fn change_life(&self, host: &dyn Host, from: ZoneLife, to: ZoneLife) -> Result<(), ZoneLife> {
        self.lock(host).change_life(from, to)
    }

    /// Returns the free and the committed frames of an opened block.
    fn bitmaps(&self, host: &dyn Host, blocks: &Blocks, block: BlockId) -> (FrameMask, FrameMask) {
        let _state = self.lock(host);
        (blocks.free(block), blocks.committed(block))
    }

    /// Takes frames of a block out of the zone, if all are free and nobody advises the block: those
    /// of them that have memory are to be decommitted.
    fn take_out(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        block: BlockId,
        wanted: FrameMask,
    ) -> Option<TakenFrames> {
        let mut state = self.lock(host);
        let flags = blocks.flags(block);
        if blocks.free(block).and(wanted) != wanted || flags & FLAG_ADVISING != 0 {
            return None;
        }
        let frames = wanted.and(blocks.committed(block));
        let huge = flags & FLAG_HUGE != 0;
        if huge {
            blocks.change_flags(block, FLAG_ADVISING, FLAG_HUGE);
        }
        state.change(blocks, block, |free, committed| {
            (free.without(wanted), committed.without(wanted))
        });
        Some(TakenFrames {
            block,
            frames,
            huge,
        })
    }
}
