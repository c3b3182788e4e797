//! COMPACT: objects move together, so that frames empty and go.
//!
//! class -> its sparsest zspage, slot by slot from the top -> mover's pin -> a slot of the lowest
//! zspage with room -> bytes copied -> word to the new place, old slot cleared -> frames detached
//!
//! | module | responsibility |
//! |---|---|
//! | `sparse` | the zspages of a class worth moving from and to |
//! | `smallest` | the smallest few of many |
//! | `report` | how much a compaction may do, and what it did |
//! | `batch` | a few moves: planned, copied, committed |
//! | `lower` | small zspages moved to records in lower pages |
//!
//! # Locking
//!
//! One thread compacts a pool at a time; another that asks is told so. A class lock is held to plan
//! at most 32 moves, and again to commit them; in between, while bytes are copied, the objects have
//! a mover's pin and no lock is held. Readers go in and out all the while: a move whose object has
//! a reader inside when it would be committed is given up, and nobody has waited.

mod batch;
mod lower;
mod report;
mod smallest;
mod sparse;

use crate::client::Client;
use crate::ids::{CLASSES, ClassIndex, ZspageId};
use crate::pool::Pool;
use crate::pool::compactor::Worker;
use batch::{Batch, Planned, Supply};
pub use report::{CompactBudget, CompactEnd, CompactReport};
use sparse::{SparseZspages, frames_needed};
use zs_mm::{ArenaRef, wide};

/// The steps of a whole compaction: each class's objects are moved together; then, if most of the
/// records' pages are nearly unused, each class's small zspages to records in lower pages.
const STEPS: usize = 2 * CLASSES;

/// How often a class is looked at anew because others close its zspages, without a move between.
const LOOK_AGAIN: usize = 16;

/// The step after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There may be more to move from and to these zspages.
    More,
    /// One of these zspages may be closed: look for others.
    LookAgain,
    /// Nothing more of these.
    Over,
}

/// A compaction under way.
struct Run<'a> {
    budget: CompactBudget,
    go_on: &'a mut dyn FnMut() -> bool,
    report: CompactReport,
}

impl Run<'_> {
    /// Returns how many more moves the budget allows, or why none.
    fn room(&mut self) -> Result<u64, CompactEnd> {
        let report = &self.report;
        let net = report.frames_freed.saturating_sub(report.frames_attached);
        if report.objects_moved >= self.budget.objects || net >= self.budget.frames {
            return Err(CompactEnd::Budget);
        }
        let room = self.budget.objects - report.objects_moved;
        if (self.go_on)() {
            Ok(room)
        } else {
            Err(CompactEnd::Stopped)
        }
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Moves objects together, so that frames empty; returns what it did. The frames go to the
    /// arena, and from there to the system by [`trim`](Self::trim) or with time.
    ///
    /// Concurrent with everything: handles stay what they are, readers are not waited for (an
    /// object with a reader inside stays where it is), a `replace`, `write` or `map` for
    /// writing may wait for some 32 copies. Class by class the sparsest zspages are emptied
    /// into the lowest ones. May take a frame or two from the arena before it frees some;
    /// without any to be had, it does what goes without.
    pub fn compact(&self, budget: CompactBudget) -> CompactReport {
        self.compact_while(budget, || true)
    }

    /// Works as [`compact`](Self::compact), but ends when `go_on` says false. It is asked before
    /// every 32 moves or fewer, with no lock held, and may use the pool.
    pub fn compact_while(
        &self,
        budget: CompactBudget,
        mut go_on: impl FnMut() -> bool,
    ) -> CompactReport {
        let mut run = Run {
            budget,
            go_on: &mut go_on,
            report: CompactReport {
                end: CompactEnd::Elsewhere,
                objects_moved: 0,
                bytes_moved: 0,
                objects_busy: 0,
                frames_freed: 0,
                frames_attached: 0,
            },
        };
        if self.arena().is_forked() {
            run.report.end = CompactEnd::Paused;
            return run.report;
        }
        let Some(mut worker) = self.compactor.begin() else {
            return run.report;
        };
        run.report.end = match self.compact_classes(&mut worker, &mut run) {
            Ok(()) => CompactEnd::Done,
            Err(end) => end,
        };
        run.report
    }

    /// Returns how many frames a compaction would free, if every object could be moved: never more
    /// than there are. Takes each class lock once, for a moment.
    pub fn can_compact(&self) -> u64 {
        if self.arena().is_forked() {
            return 0;
        }
        let possible: u64 = ClassIndex::all()
            .map(|class| self.surplus_frames(class))
            .sum();
        // A frame that went from one class to another meanwhile was met twice.
        possible.min(self.arena().stats().in_use >> self.geometry.page_size().shift())
    }

    /// Gives `frames` frames back to the system if so many can be spared: free ones first, then
    /// those that compaction empties. Returns the bytes given back, which may be more (all that
    /// is free goes, and empty table pages) or less. For a pressure watcher, for instance.
    pub fn shrink(&self, frames: u64) -> u64 {
        self.shrink_by(frames, |budget| {
            self.compact(budget);
        })
    }

    /// Works as [`shrink`](Self::shrink), by a compaction that the caller makes, who wants its
    /// report.
    pub fn shrink_by(&self, frames: u64, compact: impl FnOnce(CompactBudget)) -> u64 {
        if frames == 0 || self.arena().is_forked() {
            return 0;
        }
        let wanted = frames.saturating_mul(wide(self.geometry.page_size().bytes()));
        let free = self.trim();
        if free >= wanted {
            return free;
        }
        let missing = (wanted - free) >> self.geometry.page_size().shift();
        compact(CompactBudget::frames(missing.max(1)));
        free + self.trim()
    }

    fn surplus_frames(&self, class: ClassIndex) -> u64 {
        let locked = self.lock_class(class);
        let needed = frames_needed(self.geometry, self.geometry.class(class), locked.objects());
        u64::from(locked.frames()).saturating_sub(needed)
    }

    fn compact_classes(
        &self,
        worker: &mut Worker<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), CompactEnd> {
        run.room()?;
        let first = worker.step;
        for step in (first..STEPS).chain(0..first) {
            worker.step = step;
            let class = ClassIndex::new((step % CLASSES) as u8);
            if step < CLASSES {
                self.move_together(class, run)?;
                self.release_spare_of(class, None, run);
            } else if self.records.units.is_sparse(self.host()) {
                self.lower_records(class, run)?;
            }
        }
        worker.step = 0;
        Ok(())
    }

    /// Moves until nothing moves any more, or as often as the class had objects twice over.
    fn move_together(&self, class: ClassIndex, run: &mut Run<'_>) -> Result<(), CompactEnd> {
        let objects = self.lock_class(class).objects();
        let begun = run.report.objects_moved;
        let (mut beyond, mut stale) = (None, 0);
        while run.report.objects_moved - begun <= 2 * objects && stale < LOOK_AGAIN {
            let before = run.report.objects_moved;
            let mut sparse = self.sparse_zspages(class, beyond);
            let next = loop {
                match self.move_some(class, &mut sparse, run)? {
                    Next::More => {}
                    next => break next,
                }
            };
            let moved = run.report.objects_moved > before;
            beyond = None;
            if next == Next::LookAgain {
                stale = if moved { 0 } else { stale + 1 };
            } else if !moved {
                // All of these are in use: there may be others, less sparse.
                beyond = sparse.beyond();
                if beyond.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Releases the frame that the class keeps back. If that closes `done`, with which this thread
    /// has nothing more to do, it need not be forgotten either.
    fn release_spare_of(&self, class: ClassIndex, done: Option<ZspageId>, run: &mut Run<'_>) {
        let mut locked = self.lock_class(class);
        let closed_before = locked.closed();
        let released = locked.release_spare();
        if released.closed == done {
            locked.forget_closed_since(closed_before);
        }
        drop(locked);
        run.report.frames_freed += released.frames();
        self.give_back(class, released);
    }

    /// Moves a batch of objects, or two if the first lacks a frame to move to.
    fn move_some(
        &self,
        class: ClassIndex,
        sparse: &mut SparseZspages,
        run: &mut Run<'_>,
    ) -> Result<Next, CompactEnd> {
        let room = run.room()?;
        let ticket = self.arena().begin_moves().ok_or(CompactEnd::Paused)?;
        let mut supply = Supply::default();
        let mut planned = self.move_batch(class, sparse, room, &mut supply, run);
        if let Planned::NeedsFrame(left) = planned {
            if !supply.fetch(self.arena()) {
                sparse.extend_no_more();
            }
            planned = self.move_batch(class, sparse, left, &mut supply, run);
        }
        supply.release(self.arena());
        drop(ticket);
        Ok(match planned {
            Planned::More | Planned::NeedsFrame(_) => Next::More,
            Planned::Over if sparse.forgot() => Next::LookAgain,
            Planned::Over => Next::Over,
        })
    }

    fn move_batch(
        &self,
        class: ClassIndex,
        sparse: &mut SparseZspages,
        room: u64,
        supply: &mut Supply,
        run: &mut Run<'_>,
    ) -> Planned {
        let mut batch = Batch::new(room);
        let planned = self.plan(class, sparse, &mut batch, supply);
        if !batch.is_empty() {
            self.copy(class, &batch);
            self.commit(class, &mut batch);
        }
        self.settle(class, sparse, batch, &mut run.report);
        planned
    }
}
