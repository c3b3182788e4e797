//! The zones of an arena, as a user sees them.

use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::backing::Backing;
use crate::error::Error;
use crate::size::{FrameId, ZoneId};
use crate::zone::Zone;
use crate::zone::block::BlockId;
use core::ops::Range;
use zs_sync::assert_may_block;

impl<B: Backing> Arena<B> {
    /// Returns the zones, in the order in which they are filled.
    pub fn zones(&self) -> impl Iterator<Item = ZoneId> {
        (0..self.options.zones.count()).map(ZoneId::at)
    }

    /// Returns the frames of a zone: from the first, to the one after the last.
    ///
    /// # Errors
    /// [`Error::NoSuchZone`], [`Error::Forked`].
    pub fn zone_frames(&self, zone: ZoneId) -> Result<Range<FrameId>, Error> {
        let Range { start, end } = self.zone(zone)?.blocks();
        let first = |block: BlockId| self.blocks.frame(block, 0);
        Ok(first(start)..first(end))
    }

    /// Returns the zone that a frame lies in; `None` beyond the arena.
    pub fn zone_of_frame(&self, frame: FrameId) -> Option<ZoneId> {
        let block = self.blocks.block_of(frame);
        let zone = self.zones.iter().position(|zone| zone.contains(block))?;
        Some(ZoneId::at(zone))
    }

    /// Says whether frames of the zone are handed out.
    ///
    /// # Errors
    /// [`Error::NoSuchZone`], [`Error::Forked`].
    pub fn is_online(&self, zone: ZoneId) -> Result<bool, Error> {
        Ok(self.zone(zone)?.lock(self.host).is_online())
    }

    /// Works as [`alloc_frame`](Self::alloc_frame), from one zone, and from no cache.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the zone has no free frame, or none with memory and the limit is
    /// reached or the backing refuses; [`Error::NoSuchZone`], [`Error::ZoneOffline`],
    /// [`Error::Forked`].
    pub fn alloc_frame_in(&self, zone: ZoneId) -> Result<Frame, Error> {
        assert_may_block();
        let wanted = self.zone(zone)?;
        if let Some(frame) = self.take_one_or_commit(zone) {
            return Ok(self.hand_out(frame));
        }
        if !self.is_online(zone)? {
            return Err(Error::ZoneOffline(zone));
        }
        // Frames of the zone may lie in caches; or it has some without memory, and cached frames of
        // other zones have taken the limit.
        self.drain_caches();
        if wanted.has_only_bare(self.host) {
            self.give_cached_back();
        }
        let frame = self.take_one_or_commit(zone).ok_or(Error::NoMemory)?;
        Ok(self.hand_out(frame))
    }

    fn take_one_or_commit(&self, zone: ZoneId) -> Option<FrameId> {
        let ready = self.zones[zone.index()]
            .take_ready(self.host, &self.blocks, 1)
            .pop();
        ready.or_else(|| {
            let mut run = self.commit_run(zone).ok()?;
            let frame = run.pop();
            self.put(&run);
            frame
        })
    }

    /// Returns a zone, for whoever may take its lock.
    pub(crate) fn zone(&self, zone: ZoneId) -> Result<&Zone, Error> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        if zone.index() < self.options.zones.count() {
            Ok(&self.zones[zone.index()])
        } else {
            Err(Error::NoSuchZone(zone))
        }
    }
}
