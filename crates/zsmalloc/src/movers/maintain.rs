//! One call that keeps an arena whole: objects moved together within a pool, and frames between
//! pageblocks.
//!
//! draining frames freed -> objects moved together, until that wins nothing -> frames moved to the
//! lower pageblocks, zone by zone, until that wins nothing -> trim
//!
//! A frame that objects leave costs less than a page of copying, gives its memory back, and need
//! not be moved any more; so that is the cheaper step as long as there is one. (Taking turns by
//! what each costs just then copied a third more: `docs/decisions/0020-movable-pages.md`.)

use crate::client::Client;
use crate::movers::compact::{CompactBudget, CompactEnd};
use crate::pool::Pool;
use zs_mm::{ArenaRef, CompactOptions, MigrateMode, Movable, ZoneId, wide};

/// Rounds through all zones: others may free, and so leave holes, as fast as this moves.
const ROUNDS: u32 = 8;

/// The bounds of one maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintainBudget {
    /// The most bytes that are copied, rounded up to a whole frame.
    pub bytes: u64,
}

impl MaintainBudget {
    /// As much as there is to do.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX };

    /// At most `bytes` bytes. With 0, only what is free already is given back.
    pub const fn bytes(bytes: u64) -> Self {
        Self { bytes }
    }
}

/// Why a maintenance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaintainEnd {
    /// Nothing is left that could be won, but for what was in use.
    #[default]
    Done,
    /// The budget is spent. The next call goes on where this one ended.
    Budget,
    /// The caller wished so.
    Stopped,
    /// Moves are paused.
    Paused,
}

/// The outcome of one maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaintainReport {
    /// Why it ended.
    pub end: MaintainEnd,
    /// Objects that were moved within the pool.
    pub objects_moved: u64,
    /// Frames of the pool that were emptied by it, less those that it took.
    pub frames_freed: u64,
    /// Frames that were moved to other pageblocks.
    pub frames_moved: u64,
    /// Frames that could not be moved just then.
    pub frames_failed: u64,
    /// Pageblocks that became free as a whole.
    pub blocks_freed: u64,
    /// Bytes that were copied.
    pub bytes_moved: u64,
    /// Bytes that were given back to the system.
    pub bytes_trimmed: u64,
}

/// A maintenance under way.
struct Run<'a> {
    owners: &'a [&'a dyn Movable],
    go_on: &'a (dyn Fn() -> bool + Sync),
    budget: u64,
    /// Frames that the pool was emptied of, and frames that were taken to move objects to.
    freed: u64,
    attached: u64,
    report: MaintainReport,
}

impl Run<'_> {
    /// Returns how much the next step may copy; an error if nothing.
    fn room(&self) -> Result<u64, MaintainEnd> {
        if !(self.go_on)() {
            return Err(MaintainEnd::Stopped);
        }
        match self.budget.checked_sub(self.report.bytes_moved) {
            None | Some(0) => Err(MaintainEnd::Budget),
            Some(room) => Ok(room),
        }
    }
}

impl<A: ArenaRef + Sync, C: Client> Pool<A, C> {
    /// Keeps memory whole: moves objects together and frees frames, moves frames to the lower
    /// pageblocks so that the upper ones become free as a whole, and gives what is free back to
    /// the system. Choose a budget and call it now and then, or after many frees; other owners
    /// in the arena: see [`maintain_with`](Self::maintain_with).
    ///
    /// Concurrent with everything, as [`compact`](Self::compact) and
    /// [`Arena::migrate_pages`](zs_mm::Arena::migrate_pages) are: readers are not waited for, a
    /// write may wait for some 32 copies.
    pub fn maintain(&self, budget: MaintainBudget) -> MaintainReport {
        self.maintain_with(&[self], budget, &|| true)
    }

    /// Works as [`maintain`](Self::maintain), in an arena with other owners of movable frames:
    /// those of `owners`, this pool among them, are moved between pageblocks. It ends when `go_on`
    /// says false, which is asked before every 32 moves or fewer, with no lock held.
    pub fn maintain_with(
        &self,
        owners: &[&dyn Movable],
        budget: MaintainBudget,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> MaintainReport {
        let mut run = Run {
            owners,
            go_on,
            budget: budget.bytes,
            freed: 0,
            attached: 0,
            report: MaintainReport::default(),
        };
        if self.arena().is_forked() {
            run.report.end = MaintainEnd::Paused;
            return run.report;
        }
        run.owners.iter().for_each(|owner| owner.drain());
        run.report.end = self.steps(&mut run).err().unwrap_or_default();
        run.owners.iter().for_each(|owner| owner.drain());
        run.report.bytes_trimmed = self.trim();
        run.report
    }

    fn steps(&self, run: &mut Run<'_>) -> Result<(), MaintainEnd> {
        self.move_objects(run)?;
        // The first round may be the rest of one that another call began: it takes two without a
        // gain to know.
        let mut without_gain = 0;
        let mut mode = MigrateMode::Async;
        for _ in 0..ROUNDS {
            let (freed, failed) = (run.report.blocks_freed, run.report.frames_failed);
            for zone in self.arena().zones() {
                self.move_frames(run, zone, mode)?;
            }
            without_gain = if run.report.blocks_freed > freed {
                0
            } else {
                without_gain + 1
            };
            if without_gain == 2 {
                break;
            }
            // What was in somebody's way is asked once more, and waited for.
            mode = if run.report.frames_failed > failed {
                MigrateMode::Sync
            } else {
                MigrateMode::Async
            };
        }
        Ok(())
    }

    /// Moves objects of the pool together.
    fn move_objects(&self, run: &mut Run<'_>) -> Result<(), MaintainEnd> {
        let page = wide(self.geometry.page_size().bytes());
        loop {
            // No object is larger than a frame.
            let budget = CompactBudget::objects((run.room()? / page).max(1));
            let did = self.compact_while(budget, run.go_on);
            run.report.objects_moved += did.objects_moved;
            run.report.bytes_moved += did.bytes_moved;
            run.freed += did.frames_freed;
            run.attached += did.frames_attached;
            run.report.frames_freed = run.freed.saturating_sub(run.attached);
            match did.end {
                CompactEnd::Done | CompactEnd::Elsewhere => return Ok(()),
                CompactEnd::Stopped => return Err(MaintainEnd::Stopped),
                CompactEnd::Paused => return Err(MaintainEnd::Paused),
                // They were smaller than a frame: there is room left.
                CompactEnd::Budget => {}
            }
        }
    }

    /// Moves frames of one zone to its lower pageblocks.
    fn move_frames(
        &self,
        run: &mut Run<'_>,
        zone: ZoneId,
        mode: MigrateMode,
    ) -> Result<(), MaintainEnd> {
        let page = wide(self.geometry.page_size().bytes());
        let options = CompactOptions {
            frames: (run.room()? / page).max(1),
            go_on: run.go_on,
            ..CompactOptions::new(mode)
        };
        // A zone that is offline has nothing in it.
        let did = self.arena().compact_zone(zone, run.owners, options);
        let did = did.unwrap_or_default();
        run.report.frames_moved += did.frames_moved;
        run.report.frames_failed += did.frames_failed;
        run.report.blocks_freed += did.blocks_freed;
        run.report.bytes_moved += did.frames_moved * page;
        match did.end {
            zs_mm::CompactEnd::Stopped => Err(MaintainEnd::Stopped),
            zs_mm::CompactEnd::Paused => Err(MaintainEnd::Paused),
            zs_mm::CompactEnd::Budget => Err(MaintainEnd::Budget),
            _ => Ok(()),
        }
    }
}
