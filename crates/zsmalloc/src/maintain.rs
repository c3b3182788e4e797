//! One call that keeps an arena whole: objects moved together within a pool, and frames between pageblocks.
//!
//! draining frames freed -> (the cheaper of: a piece of object compaction, a piece of a zone's compaction) until neither
//! wins anything or the budget is spent -> trim
//!
//! Both are paid in bytes that are copied. A frame that objects are moved out of costs as much as lies in it on the
//! average; a frame's share of a pageblock that is emptied, as much as the block is in use. Object compaction comes
//! first where they cost the same: what it frees need not be moved.

use crate::client::Client;
use crate::compact::{CompactBudget, CompactEnd, CompactReport};
use crate::pool::Pool;
use zs_mm::{ArenaRef, CompactOptions, MigrateMode, Movable, ZoneId};

/// Bytes that are copied between two looks at what is cheaper.
const STEP: u64 = 1 << 20;

/// How much a maintenance may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintainBudget {
    /// The most bytes that are copied, give or take a pageblock's piece of 32 frames.
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

/// What a maintenance did.
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

/// What there is to win, in millionths of a byte copied for each byte that becomes free; `None` where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prices {
    within: Option<u64>,
    between: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Within,
    Between,
}

impl Prices {
    /// The cheaper step, objects first.
    fn cheaper(self) -> Option<Step> {
        match (self.within, self.between) {
            (None, None) => None,
            (None, Some(_)) => Some(Step::Between),
            (Some(within), Some(between)) if between < within => Some(Step::Between),
            (Some(_), _) => Some(Step::Within),
        }
    }
}

/// `part` of `whole`, in millionths.
fn share(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000_000) / whole.max(1)
}

/// A maintenance under way.
struct Run<'a> {
    owners: &'a [&'a dyn Movable],
    go_on: &'a (dyn Fn() -> bool + Sync),
    budget: u64,
    report: MaintainReport,
    /// Object compaction has nothing more to win, or is done elsewhere.
    within_over: bool,
    /// Zones from this one on are still to be compacted.
    zone: u32,
}

impl Run<'_> {
    /// How much the next step may copy; an error if none.
    fn room(&self) -> Result<u64, MaintainEnd> {
        if !(self.go_on)() {
            return Err(MaintainEnd::Stopped);
        }
        match self.budget.checked_sub(self.report.bytes_moved) {
            None | Some(0) => Err(MaintainEnd::Budget),
            Some(room) => Ok(room.min(STEP)),
        }
    }
}

impl<A: ArenaRef + Sync, C: Client> Pool<A, C> {
    /// Keeps memory whole: moves objects together and frees frames, moves frames to the lower pageblocks so that
    /// the upper ones become free as a whole, and gives what is free back to the system. Choose a budget
    /// and call it now and then, or after many frees; other owners in the arena: see [`maintain_with`](Self::maintain_with).
    ///
    /// Concurrent with everything, as [`compact`](Self::compact) and
    /// [`Arena::migrate_pages`](zs_mm::Arena::migrate_pages) are: readers are not waited for, a write may wait for
    /// some 32 copies.
    pub fn maintain(&self, budget: MaintainBudget) -> MaintainReport {
        self.maintain_with(&[self], budget, &|| true)
    }

    /// As [`maintain`](Self::maintain), in an arena with other owners of movable frames: those of `owners`, this pool
    /// among them, are moved between pageblocks. It ends when `go_on` says false, which is asked before every 32
    /// moves or fewer, with no lock held.
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
            report: MaintainReport::default(),
            within_over: false,
            zone: 0,
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
        loop {
            let Some(step) = self.prices(run).cheaper() else {
                return Ok(());
            };
            let room = run.room()?;
            match step {
                Step::Within => self.step_within(run, room)?,
                Step::Between => self.step_between(run, room)?,
            }
        }
    }

    fn prices(&self, run: &Run<'_>) -> Prices {
        let stats = self.stats();
        let within = !run.within_over && self.can_compact() > 0;
        let zones = self.arena().options().zones.count() as u32;
        let between = (run.zone < zones).then(|| {
            let blocks = self.arena().blocks();
            let mixed = blocks.filter(|block| block.free > 0 && block.in_use() > 0);
            let (frames, in_use) = mixed.fold((0, 0), |(frames, in_use), block| {
                (frames + block.frames, in_use + block.in_use())
            });
            share(in_use.into(), frames.into())
        });
        Prices {
            within: within.then(|| share(stats.payload_bytes, stats.frame_bytes)),
            between,
        }
    }

    fn step_within(&self, run: &mut Run<'_>, room: u64) -> Result<(), MaintainEnd> {
        let stats = self.stats();
        let object = (stats.payload_bytes / stats.objects.max(1)).max(1);
        let budget = CompactBudget::objects((room / object).max(1));
        let go_on = run.go_on;
        let did: CompactReport = self.compact_while(budget, go_on);
        run.report.objects_moved += did.objects_moved;
        run.report.bytes_moved += did.bytes_moved;
        run.report.frames_freed += did.frames_freed.saturating_sub(did.frames_attached);
        match did.end {
            CompactEnd::Done | CompactEnd::Elsewhere => run.within_over = true,
            CompactEnd::Budget => {}
            CompactEnd::Stopped => return Err(MaintainEnd::Stopped),
            CompactEnd::Paused => return Err(MaintainEnd::Paused),
        }
        Ok(())
    }

    fn step_between(&self, run: &mut Run<'_>, room: u64) -> Result<(), MaintainEnd> {
        let page = self.geometry.page_size().bytes() as u64;
        let options = CompactOptions {
            frames: (room / page).max(1),
            go_on: run.go_on,
            ..CompactOptions::new(MigrateMode::Async)
        };
        let zone = ZoneId(run.zone);
        let Ok(did) = self.arena().compact_zone(zone, run.owners, options) else {
            // Offline: there is nothing in it.
            run.zone += 1;
            return Ok(());
        };
        run.report.frames_moved += did.frames_moved;
        run.report.frames_failed += did.frames_failed;
        run.report.blocks_freed += did.blocks_freed;
        run.report.bytes_moved += did.frames_moved * page;
        match did.end {
            zs_mm::CompactEnd::Stopped => return Err(MaintainEnd::Stopped),
            zs_mm::CompactEnd::Paused => return Err(MaintainEnd::Paused),
            zs_mm::CompactEnd::Budget => {}
            _ => run.zone += 1,
        }
        Ok(())
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_cheaper_step_is_chosen_and_objects_first() {
        let prices = |within, between| Prices { within, between }.cheaper();
        assert_eq!(prices(None, None), None);
        assert_eq!(prices(Some(900_000), None), Some(Step::Within));
        assert_eq!(prices(None, Some(1)), Some(Step::Between));
        assert_eq!(prices(Some(300_000), Some(300_000)), Some(Step::Within));
        assert_eq!(prices(Some(300_001), Some(300_000)), Some(Step::Between));
        assert_eq!(share(1, 4), 250_000);
        assert_eq!(share(1, 0), 1_000_000, "nothing is in use");
        assert_eq!(share(u64::MAX, 2), u64::MAX / 2);
    }
}
