//! Compaction before somebody needs it, by how fragmented a zone is.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::error::Error;
use crate::movable::{MigrateMode, Movable};
use crate::policy::compaction::{CompactEnd, CompactOptions, CompactReport};
use crate::size::{ZoneId, wide};
use crate::zone::Zone;
use crate::zone::block::BlockId;

/// A zone that is more fragmented than this is compacted ...
const HIGH: u32 = 90;
/// ... until it is no more than this.
const LOW: u32 = 80;

/// Frames between two looks at how fragmented a zone is.
const AT_A_TIME: u64 = 512;

impl<B: Backing> Arena<B> {
    /// Returns how fragmented a zone is, from 0 to 100: the share of its free frames, in opened
    /// blocks, that are not in blocks which are free as a whole. A look at each opened block.
    ///
    /// # Errors
    /// [`Error::NoSuchZone`], [`Error::Forked`].
    pub fn fragmentation(&self, zone: ZoneId) -> Result<u32, Error> {
        let zone = self.zone(zone)?;
        let (mut free, mut whole) = (0_u64, 0_u64);
        for block in BlockId::each(zone.blocks()) {
            let Some(look) = zone.look(self.host, &self.blocks, block) else {
                break;
            };
            let frames = look.free.count();
            free += wide(frames);
            if frames == self.blocks.frames {
                whole += wide(frames);
            }
        }
        let scattered = (free - whole) * 100;
        Ok(scattered.checked_div(free).unwrap_or(0) as u32)
    }

    /// Compacts, asynchronously, each zone whose [`fragmentation`](Self::fragmentation) is above
    /// 90, until it is 80. For a thread that calls it now and then. After a pass that freed no
    /// block a zone is left alone for a call, then three, ... 63.
    ///
    /// `go_on` is asked before every few frames, with no lock held; false ends the call. The end
    /// reported is that of the last zone that needed any.
    pub fn compact_proactive(
        &self,
        owners: &[&dyn Movable],
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> CompactReport {
        let mut report = CompactReport::default();
        for id in self.zones() {
            // A zone may go offline at any time: then there is nothing to do.
            let (Ok(zone), Ok(now)) = (self.zone(id), self.fragmentation(id)) else {
                continue;
            };
            if now <= HIGH {
                continue;
            }
            if zone.lock(self.host).deferral().puts_off() {
                report.end = CompactEnd::Deferred;
                continue;
            }
            let one = self.compact_until_low(id, zone, owners, go_on);
            report.add(&one);
            if one.end == CompactEnd::Stopped {
                break;
            }
        }
        report
    }

    fn compact_until_low(
        &self,
        id: ZoneId,
        zone: &Zone,
        owners: &[&dyn Movable],
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> CompactReport {
        let options = CompactOptions {
            frames: AT_A_TIME,
            go_on,
            ..CompactOptions::new(MigrateMode::Async)
        };
        let mut report = CompactReport::default();
        while let Ok(piece) = self.compact_zone(id, owners, options) {
            report.add(&piece);
            let is_low = self.fragmentation(id).is_ok_and(|now| now <= LOW);
            if piece.end != CompactEnd::Budget || is_low {
                break;
            }
        }
        if report.met() || report.blocks_freed > 0 {
            let mut state = zone.lock(self.host);
            state.deferral().pass_is_over(report.blocks_freed);
        }
        report
    }
}
