//! Lists of frames moved, in batches and passes.

use super::PIECE;
use super::contract::{Movable, Prepared};
use super::copy::{CopyBatch, CopyEngine, CopyPlan, Inline};
use super::destination::Destination;
use super::lock::FrameLock;
use super::status::{MigrateEnd, MigrateMode, MigrateOptions, MigrateReport};
use super::token::{Isolated, Move};
use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::arena::move_counters::count;
use crate::backing::Backing;
use crate::frame_status::FrameStatus;
use crate::size::{FrameId, wide};

/// Frames of one batch: as many as are isolated at a time.
const BATCH: usize = if cfg!(zs_loom) { 2 } else { 128 };
/// Passes over what said "try again", without waiting.
const PASSES: usize = if cfg!(zs_loom) { 2 } else { 10 };
/// The same before a synchronous call goes on one by one.
const SYNC_PASSES: usize = 3;
/// How often such a frame is tried.
const TRIES: usize = 7;
/// Turns of other threads that one wait lasts at most.
const TURNS: usize = if cfg!(zs_loom) { 1 } else { 1000 };

/// Frames that are isolated together.
struct Batch<'o, B: Backing> {
    tokens: [Option<Isolated<'o, B>>; BATCH],
    status: [FrameStatus; BATCH],
    len: usize,
}

/// A migration under way.
struct Run<'a> {
    to: &'a mut dyn Destination,
    options: MigrateOptions<'a>,
    report: MigrateReport,
}

impl<B: Backing> Arena<B> {
    /// Moves the contents of `frames`, whose owners are among `owners`, to frames that `to`
    /// provides, while readers and writers of what is in them go on. `status` gets what became
    /// of each frame, as far as it has room.
    ///
    /// In batches: each is isolated, then moved in passes as `options.mode` says; what cannot be
    /// moved is put back. Without a frame to move to the call ends with what was done. Waits
    /// for nobody but as the mode says. When it returns, none of the frames is isolated by it.
    ///
    /// A frame whose old place is still being read counts as moved; the old place is freed when its
    /// readers have left (see [`Movable::drain`]).
    ///
    /// # Panics
    /// If `to` provides a frame of another arena.
    pub fn migrate_pages(
        &self,
        frames: &[FrameId],
        owners: &[&dyn Movable],
        to: &mut dyn Destination,
        options: MigrateOptions<'_>,
        status: &mut [FrameStatus],
    ) -> MigrateReport {
        owners.iter().for_each(|owner| owner.drain());
        let mut run = Run {
            to,
            options,
            report: MigrateReport::default(),
        };
        status.fill(FrameStatus::Pending);
        let mut begun = 0;
        for list in frames.chunks(BATCH) {
            let mut batch = self.isolate_batch(list, owners, options.mode);
            let outcome = self.migrate_batch(&mut batch, &mut run);
            self.end_batch(&mut batch, list, &mut run);
            let room = status.iter_mut().skip(begun);
            for (place, &one) in room.zip(&batch.status[..batch.len]) {
                *place = one;
            }
            begun += list.len();
            if let Err(end) = outcome {
                run.report.end = end;
                break;
            }
        }
        run.report.not_moved += wide(frames.len().saturating_sub(begun));
        self.count_reason(options.reason, run.report.moved);
        run.report
    }

    fn isolate_batch<'o>(
        &'o self,
        list: &[FrameId],
        owners: &[&'o dyn Movable],
        mode: MigrateMode,
    ) -> Batch<'o, B> {
        let mut batch = Batch {
            tokens: [const { None }; BATCH],
            status: [FrameStatus::Pending; BATCH],
            len: list.len(),
        };
        for (at, &frame) in list.iter().enumerate() {
            match self.isolate(frame, owners, mode != MigrateMode::Async) {
                Ok(token) if token.movable().serves(mode) => batch.tokens[at] = Some(token),
                Ok(_) => batch.status[at] = FrameStatus::WrongMode,
                Err(status) => batch.status[at] = status,
            }
        }
        batch
    }

    fn migrate_batch(&self, batch: &mut Batch<'_, B>, run: &mut Run<'_>) -> Result<(), MigrateEnd> {
        match run.options.mode {
            MigrateMode::Async | MigrateMode::SyncLight => self.passes(batch, run, PASSES),
            MigrateMode::Sync => {
                self.passes(batch, run, SYNC_PASSES)?;
                self.one_by_one(batch, run)
            }
            MigrateMode::SyncNoCopy => {
                self.together(batch, run)?;
                self.one_by_one(batch, run)
            }
        }
    }

    /// Puts back what is left of a batch, and counts all of it.
    fn end_batch(&self, batch: &mut Batch<'_, B>, list: &[FrameId], run: &mut Run<'_>) {
        for (at, &frame) in list.iter().enumerate() {
            batch.tokens[at] = None;
            let status = batch.status[at];
            run.report.count(status);
            let failed = matches!(status, FrameStatus::Busy | FrameStatus::NoMemory);
            if failed {
                count(&self.counters_of(frame).failed, 1);
            }
        }
    }

    /// Passes over a batch until nothing of it is left to be tried again.
    fn passes(
        &self,
        batch: &mut Batch<'_, B>,
        run: &mut Run<'_>,
        passes: usize,
    ) -> Result<(), MigrateEnd> {
        for _ in 0..passes {
            let mut again = false;
            for first in (0..batch.len).step_by(PIECE) {
                let end = (first + PIECE).min(batch.len);
                if batch.tokens[first..end].iter().all(Option::is_none) {
                    continue;
                }
                run.go_on()?;
                let ticket = self.begin_moves().ok_or(MigrateEnd::Paused)?;
                for at in first..end {
                    again |= self.try_one(batch, at, run)?;
                }
                drop(ticket);
            }
            if !again {
                break;
            }
        }
        Ok(())
    }

    /// Tries each frame that is left a few times, and waits for its owner in between.
    fn one_by_one(&self, batch: &mut Batch<'_, B>, run: &mut Run<'_>) -> Result<(), MigrateEnd> {
        for at in 0..batch.len {
            for again in 0..TRIES {
                if batch.tokens[at].is_none() {
                    break;
                }
                if again > 0 {
                    self.wait_for_owner(run.options.wait_ns);
                }
                run.go_on()?;
                let ticket = self.begin_moves().ok_or(MigrateEnd::Paused)?;
                let tried = self.try_one(batch, at, run);
                drop(ticket);
                tried?;
            }
        }
        Ok(())
    }

    fn wait_for_owner(&self, wait_ns: u64) {
        let begun = self.host.now_ns();
        for _ in 0..TURNS {
            self.host.yield_now();
            if self.host.now_ns().saturating_sub(begun) >= wait_ns {
                break;
            }
        }
    }

    /// Tries to move one frame of a batch; whether it is to be tried again.
    fn try_one(
        &self,
        batch: &mut Batch<'_, B>,
        at: usize,
        run: &mut Run<'_>,
    ) -> Result<bool, MigrateEnd> {
        let Some(token) = batch.tokens[at].take() else {
            return Ok(false);
        };
        let wait = run.options.mode != MigrateMode::Async;
        match self.move_one(token, run, wait) {
            Move::Over(status) => {
                batch.status[at] = status;
                Ok(false)
            }
            Move::Again(token) => {
                run.report.retried += 1;
                count(&self.counters_of(token.frame()).retried, 1);
                batch.tokens[at] = Some(token);
                batch.status[at] = FrameStatus::Busy;
                Ok(true)
            }
            Move::NoMemory(token) => {
                drop(token);
                batch.status[at] = FrameStatus::NoMemory;
                Err(MigrateEnd::NoMemory)
            }
        }
    }

    /// Moves one isolated frame, if its owner lets it. The destination is fetched first: no frame
    /// is locked while memory is committed.
    fn move_one<'o>(&self, token: Isolated<'o, B>, run: &mut Run<'_>, wait: bool) -> Move<'o, B> {
        let Some(to) = run.frame_for(token.frame(), self.id) else {
            return Move::NoMemory(token);
        };
        let lock = if wait {
            self.lock_frame(token.frame())
        } else {
            self.try_lock_frame(token.frame())
        };
        let prepared = lock
            .as_ref()
            .map_or(Prepared::Busy, |lock| token.prepare(lock));
        if let Some(lock) = lock.filter(|_| prepared == Prepared::Ready) {
            if token.movable().has_contents() {
                run.report.bytes_copied += self.copy(&[self.plan(&token, &to)], &Inline);
            }
            let (status, old) = token.commit(&lock, to);
            drop(lock);
            if let Some(old) = old {
                self.free_frame(old);
            }
            return Move::Over(status);
        }
        // The lock has ended: putting the frame back takes it.
        run.to.unused(to);
        if prepared == Prepared::Empty {
            Move::Over(token.end())
        } else {
            Move::Again(token)
        }
    }

    /// Returns the frames for what is left of a batch, as far as there are any. Before any frame is
    /// locked, as memory may be committed for them.
    fn destinations(&self, batch: &Batch<'_, B>, run: &mut Run<'_>) -> [Option<Frame>; BATCH] {
        let mut destinations = [const { None }; BATCH];
        for (to, token) in destinations.iter_mut().zip(&batch.tokens) {
            let Some(token) = token else { continue };
            *to = run.frame_for(token.frame(), self.id);
            if to.is_none() {
                break;
            }
        }
        destinations
    }

    /// Moves what of a batch can be locked and prepared at once, copied together.
    fn together(&self, batch: &mut Batch<'_, B>, run: &mut Run<'_>) -> Result<(), MigrateEnd> {
        run.go_on()?;
        let ticket = self.begin_moves().ok_or(MigrateEnd::Paused)?;
        let mut destinations = self.destinations(batch, run);
        let mut locks: [Option<FrameLock<'_>>; BATCH] = [const { None }; BATCH];
        let mut plans = [CopyPlan { from: 0, to: 0 }; BATCH];
        let mut len = 0;
        for (at, to) in destinations.iter().enumerate() {
            let Some((to, token)) = to.as_ref().zip(batch.tokens[at].as_ref()) else {
                continue;
            };
            let lock = self.try_lock_frame(token.frame());
            locks[at] = lock.filter(|lock| token.prepare(lock) == Prepared::Ready);
            if locks[at].is_some() && token.movable().has_contents() {
                plans[len] = self.plan(token, to);
                len += 1;
            }
        }
        run.report.bytes_copied += self.copy(&plans[..len], run.options.engine);
        let mut done: [Option<Frame>; BATCH] = [const { None }; BATCH];
        for (at, lock) in locks.into_iter().enumerate() {
            let Some(lock) = lock else { continue };
            let to = destinations[at].take().zip(batch.tokens[at].take());
            if let Some((to, token)) = to {
                (batch.status[at], done[at]) = token.commit(&lock, to);
            }
        }
        drop(ticket);
        // After the last lock, as memory may be given back.
        destinations
            .into_iter()
            .flatten()
            .for_each(|to| run.to.unused(to));
        done.into_iter()
            .flatten()
            .for_each(|old| self.free_frame(old));
        Ok(())
    }

    fn plan(&self, token: &Isolated<'_, B>, to: &Frame) -> CopyPlan {
        let shift = self.options.page_size.shift();
        CopyPlan {
            from: token.frame().index() << shift,
            to: to.id().index() << shift,
        }
    }

    /// Copies frames; returns the bytes. Only for plans whose sources are prepared, and whose
    /// destinations are this call's own frames.
    fn copy(&self, plans: &[CopyPlan], engine: &dyn CopyEngine) -> u64 {
        let bytes = self.options.page_size.bytes();
        // SAFETY: each source is isolated, locked and prepared by this call: its owner promises
        // that nobody writes to it until commit or putback, which come after. Each
        // destination is a frame that this call alone has. Frames in use are committed.
        let batch = unsafe { CopyBatch::new(self.payload(), plans, bytes) };
        engine.copy(&batch);
        batch.finish();
        batch.bytes()
    }
}

impl Run<'_> {
    /// Returns a frame for the contents of `source`.
    fn frame_for(&mut self, source: FrameId, arena: u32) -> Option<Frame> {
        let to = self.to.frame_for(source)?;
        // Before anything is copied: its number would lead to somebody else's bytes.
        assert_eq!(to.arena, arena, "a frame of another arena");
        Some(to)
    }

    fn go_on(&self) -> Result<(), MigrateEnd> {
        if (self.options.go_on)() {
            Ok(())
        } else {
            Err(MigrateEnd::Stopped)
        }
    }
}
