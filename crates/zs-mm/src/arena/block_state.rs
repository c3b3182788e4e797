//! What becomes of pageblocks, as a user sees it.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::size::{FrameId, ZoneId};
use crate::zone::block::BlockId;

/// The frames of a pageblock, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockState {
    /// The zone that it belongs to.
    pub zone: ZoneId,
    /// Its first frame.
    pub first: FrameId,
    /// The number of its frames.
    pub frames: u32,
    /// Those that nobody has.
    pub free: u32,
    /// Those of them with memory behind them.
    pub cached: u32,
    /// Those that are out of use for good.
    pub offline: u32,
}

impl BlockState {
    /// Returns the number of frames that somebody has: owners, balloons, frame caches.
    pub fn in_use(&self) -> u32 {
        self.frames - self.free - self.offline
    }
}

impl<B: Backing> Arena<B> {
    /// Returns the pageblocks that were ever opened, by number. Each is of its own moment; takes a
    /// zone's lock for each. Empties the frame caches first, whose frames would count as in use.
    /// None in a forked child.
    pub fn blocks(&self) -> impl Iterator<Item = BlockState> + '_ {
        let is_ours = !self.is_forked();
        if is_ours {
            self.drain_caches();
        }
        let opened = |zone: ZoneId| {
            let zone = &self.zones[zone.index()];
            zone.opened(&zone.lock(self.host))
        };
        let zones = self.zones().take_while(move |_| is_ours);
        zones.flat_map(move |zone| {
            BlockId::each(opened(zone)).map(move |block| self.block_state(zone, block))
        })
    }

    fn block_state(&self, zone: ZoneId, block: BlockId) -> BlockState {
        // Before the count of those that are free: offline frames stay so.
        let offline = self.offline_of(block).count();
        let _state = self.zones[zone.index()].lock(self.host);
        let counts = self.blocks.counts(block);
        BlockState {
            zone,
            first: self.blocks.frame(block, 0),
            frames: self.blocks.frames as u32,
            free: counts.free as u32,
            cached: counts.ready as u32,
            offline: offline as u32,
        }
    }
}
