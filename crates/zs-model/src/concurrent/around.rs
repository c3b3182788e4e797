//! Operations that name no object: what a program leaves to a thread of its own, faults and the clock.

use super::client::Meeting;
use super::worker::Worker;
use crate::compact::compact_budget;
use crate::{Environment as _, Op};
use zsmalloc::CompactEnd;

impl<C: Meeting> Worker<'_, C> {
    /// Operations that name no object.
    pub(super) fn step_around(&mut self, op: Op) -> Result<(), String> {
        let scene = self.scene;
        let count = |name| scene.ledger().tally.count(name, "done");
        match op {
            Op::MarkEmpty {
                pool,
                slot,
                state,
                payload,
            } => self.mark(scene.place_in(pool, slot), state, payload),
            Op::Trim { pool } => {
                scene.pools[pool as usize % scene.pools.len()].trim();
                count("trim");
            }
            Op::Compact { pool, objects } => {
                self.compact(pool as usize % scene.pools.len(), objects);
            }
            Op::Shrink { pool, frames } => {
                scene.pools[pool as usize % scene.pools.len()].shrink(frames.into());
                count("shrink");
            }
            Op::Decay { millis } => {
                scene.world.advance_ns(u64::from(millis) * 1_000_000);
                scene.arena.decay();
                count("decay");
            }
            Op::ForEach { pool } => return self.visit(pool as usize % scene.pools.len()),
            Op::FailCommit { after, lasting } if scene.is_scarce => {
                scene.world.fail_commits(after.into(), lasting);
            }
            Op::FailDecommit { after, lasting } if scene.is_scarce => {
                scene.world.fail_decommits(after.into(), lasting);
            }
            Op::ClearFault => scene.world.clear_faults(),
            // What needs to be alone, faults where none may be, and sediment: each pool has its own.
            Op::Scribble { .. }
            | Op::Sediment { .. }
            | Op::FailCommit { .. }
            | Op::FailDecommit { .. } => {}
            _ => return Err("threads do not know this operation: give it an arm".into()),
        }
        Ok(())
    }

    fn compact(&self, pool: usize, objects: u8) {
        let report = self.scene.pools[pool].compact(compact_budget(objects));
        let what = match report.end {
            CompactEnd::Elsewhere => "elsewhere",
            _ if report.objects_busy > 0 => "busy",
            _ if report.objects_moved > 0 => "moved",
            _ => "nothing to do",
        };
        self.scene.ledger().tally.count("compact", what);
    }
}
