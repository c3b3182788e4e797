//! Operations that name no object: what a program leaves to a thread of its own, faults and the
//! clock.

use super::client::Meeting;
use super::worker::Worker;
use crate::compact::compact_budget;
use crate::migrate::{frames_named, mode, move_frames, underway};
use crate::{Environment as _, Op, TestArena};
use zs_mm::{FrameStatus, Movable};
use zsmalloc::CompactEnd;

/// Frames that a thread holds isolated at most.
const HELD_TOKENS: usize = 2;

impl<'s, C: Meeting> Worker<'s, C> {
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
            Op::Migrate {
                frame,
                frames,
                mode,
                zone,
            } => self.migrate(frame, frames, mode, zone),
            Op::Isolate { frame } => self.isolate(frame),
            Op::PutBack { nth } => {
                if let Some(nth) = (nth as usize).checked_rem(self.tokens.len()) {
                    drop(self.tokens.swap_remove(nth));
                    count("put back");
                }
            }
            Op::Drain { pool } => Movable::drain(&scene.pools[pool as usize % scene.pools.len()]),
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
            // What needs to be alone, faults where none may be, and sediment: each pool has its
            // own.
            Op::Scribble { .. }
            | Op::Sediment { .. }
            | Op::FailCommit { .. }
            | Op::FailDecommit { .. } => {}
            _ => return Err("threads do not know this operation: give it an arm".into()),
        }
        Ok(())
    }

    fn owners(&self) -> Vec<&'s dyn Movable> {
        let pools = self.scene.pools.iter();
        pools.map(|pool| pool as &dyn Movable).collect()
    }

    fn migrate(&self, frame: u16, frames: u8, number: u8, zone: u8) {
        let arena: &TestArena = &self.scene.arena;
        let list = frames_named(arena, frame, frames);
        let (report, status) = move_frames(arena, &list, &self.owners(), mode(number), zone);
        // Points of the schedule: before the ledger is locked.
        let (_, draining) = underway(arena);
        let tally = &mut self.scene.ledger().tally;
        tally.add("migrate", "moved", report.moved);
        tally.add("migrate", "freed", report.freed);
        tally.add("migrate", "again", report.retried);
        tally.add("migrate", "drains", draining);
        for one in status {
            match one {
                FrameStatus::Busy => tally.count("migrate", "busy"),
                FrameStatus::AlreadyIsolated => tally.count("migrate", "isolated"),
                FrameStatus::NoMemory => tally.count("migrate", "no memory"),
                _ => {}
            }
        }
    }

    fn isolate(&mut self, frame: u16) {
        let arena: &TestArena = &self.scene.arena;
        let frame = frames_named(arena, frame, 0)[0];
        if self.tokens.len() < HELD_TOKENS
            && let Ok(token) = arena.isolate(frame, &self.owners(), true)
        {
            self.tokens.push(token);
            self.scene.ledger().tally.count("isolate", "done");
        }
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
