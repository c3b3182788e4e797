//! Neighbouring frames at once: free ones, or such whose contents can be moved away.
//!
//! Data model: `survey -> Window (where, how much is to be moved) -> Reserved -> moved away ->
//! Contiguous`.

use crate::arena::frames::Frame;
use crate::arena::{Arena, ONE_IN_USE};
use crate::backing::Backing;
use crate::error::Error;
use crate::frame::descriptor::{Descriptor, FrameType, LOCKED};
use crate::frame::mask::FrameMask;
use crate::frame_status::{FrameStatus, MigrateReason};
use crate::movable::Movable;
use crate::policy::clear::in_the_way;
use crate::size::{FrameId, wide};
use crate::zone::FrameRun;
use crate::zone::block::BlockId;
use zs_sync::{Ordering, assert_may_block};

/// Neighbouring frames, committed, that their holder gives back as they are.
///
/// Not `Copy`, and it knows its arena: it can be given back once, where it came from.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "frames that are dropped are lost until their arena goes"]
pub struct Contiguous {
    first: FrameId,
    frames: u32,
    arena: u32,
}

impl Contiguous {
    /// Returns the first frame.
    pub fn first(&self) -> FrameId {
        self.first
    }

    /// Returns how many frames there are.
    pub fn frames(&self) -> u32 {
        self.frames
    }
}

impl<B: Backing> Arena<B> {
    /// Allocates 2^`order` neighbouring frames, with whatever bytes they held last: up to a
    /// pageblock aligned to their number within one; above that, neighbouring blocks of one
    /// zone.
    ///
    /// Takes frames that are free if there are enough of them together; else moves away what is in
    /// use where that is least, as far as it belongs to `owners`. What of a place cannot be
    /// moved it tries again a few times, then goes on to the next best place. Calls the
    /// backing; waits for owners who are busy, up to a limit. A look at every pageblock.
    ///
    /// # Errors
    /// [`Error::OrderTooLarge`]; [`Error::InTheWay`] with what stood in the way in the best place;
    /// [`Error::NoMemory`] if the limit or the backing leaves no memory to commit frames or to move
    /// others to; [`Error::MovesPaused`], [`Error::Forked`].
    pub fn alloc_contiguous(
        &self,
        order: u32,
        owners: &[&dyn Movable],
    ) -> Result<Contiguous, Error> {
        assert_may_block();
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let most = self.largest_zone().ilog2();
        if order > most {
            return Err(Error::OrderTooLarge { order, most });
        }
        let len = 1 << order;
        let survey = self.survey(len, owners);
        let fresh = (!survey.has_free_window()).then(|| self.open_window(len));
        if let Some(window) = fresh.flatten()
            && let Ok(contiguous) = self.take_window(window.first, len, owners)
        {
            return Ok(contiguous);
        }
        let mut first_error = None;
        for window in survey.windows() {
            match self.take_window(window.first, len, owners) {
                Ok(contiguous) => return Ok(contiguous),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| survey.refusal()))
    }

    /// Allocates `frames` neighbouring frames from `first` on, which must lie in one zone; moves
    /// away what is in use of them, as far as it belongs to `owners`. As
    /// [`alloc_contiguous`](Self::alloc_contiguous) in all else.
    ///
    /// # Errors
    /// [`Error::InvalidRange`] if there are none, or not all lie in one zone that is online;
    /// [`Error::InTheWay`] with the first frame that could not be had; else as for
    /// `alloc_contiguous`.
    pub fn alloc_range(
        &self,
        first: FrameId,
        frames: u32,
        owners: &[&dyn Movable],
    ) -> Result<Contiguous, Error> {
        assert_may_block();
        let invalid = Error::InvalidRange { first, frames };
        let last = frames
            .checked_sub(1)
            .and_then(|more| first.0.checked_add(more));
        let last = last.ok_or(invalid)?;
        let zone = self.zone_of_frame(first).ok_or(invalid)?;
        if self.zone_of_frame(FrameId(last)) != Some(zone) {
            return Err(invalid);
        }
        if !self.is_online(zone)? {
            return Err(Error::ZoneOffline(zone));
        }
        self.open_up_to(zone, self.block_of(FrameId(last)))?;
        self.take_window(first, frames as usize, owners)
    }

    /// Gives neighbouring frames back. They stay committed, in their zone, until trim or decay. In
    /// a forked child nothing is given back.
    ///
    /// # Panics
    /// If they are another arena's.
    pub fn free_contiguous(&self, contiguous: Contiguous) {
        assert_eq!(contiguous.arena, self.id, "frames of another arena");
        if self.is_forked() {
            return;
        }
        for run in self.runs_of(contiguous.first, contiguous.frames as usize) {
            self.free_run(run);
        }
    }

    /// Makes single frames of neighbouring ones, for a zspage each.
    pub(crate) fn split(&self, contiguous: Contiguous) -> impl Iterator<Item = Frame> + '_ {
        assert_eq!(contiguous.arena, self.id, "frames of another arena");
        let (first, arena) = (contiguous.first.0, contiguous.arena);
        (first..first + contiguous.frames).map(move |frame| {
            let id = FrameId(frame);
            let change = Descriptor::unowned(FrameType::Block).0 ^ Descriptor::UNOWNED.0;
            // Relaxed: whoever frees and whoever takes a frame are ordered by the zone's lock.
            self.descriptor(id).fetch_xor(change, Ordering::Relaxed);
            Frame { id, arena }
        })
    }

    fn free_run(&self, run: FrameRun) {
        for frame in run.frames(&self.blocks) {
            // Relaxed: whoever frees and whoever takes a frame are ordered by the zone's lock.
            let before = self.descriptor(frame).fetch_and(LOCKED, Ordering::Relaxed);
            debug_assert_eq!(
                Descriptor(before).at_rest(),
                Descriptor::unowned(FrameType::Block),
                "frames that are given back were taken together"
            );
        }
        // Relaxed: see `usage`.
        let freed = wide(run.len) * ONE_IN_USE;
        self.usage.fetch_sub(freed, Ordering::Relaxed);
        let frames = FrameMask::range(run.start, run.len);
        self.zone_of(run.block)
            .put_free(self.host, &self.blocks, run.block, frames);
    }

    /// Reserves the blocks of a range, moves away what is in use of it, and takes it.
    fn take_window(
        &self,
        first: FrameId,
        len: usize,
        owners: &[&dyn Movable],
    ) -> Result<Contiguous, Error> {
        let last = FrameId(first.0 + len as u32 - 1);
        let blocks = self.block_of(first)..self.block_of(last).above();
        let reserved = self.reserve_blocks(blocks).map_err(|block| {
            let frame = self.blocks.frame(block, 0);
            in_the_way(frame.max(first), FrameStatus::Busy)
        })?;
        let parts = self.runs_of(first, len);
        let parts = parts.map(|run| (run.block, FrameMask::range(run.start, run.len)));
        self.clear(parts, owners, MigrateReason::Contiguous)?;
        let mut contiguous = Contiguous {
            first,
            frames: 0,
            arena: self.id,
        };
        for run in self.runs_of(first, len) {
            let taken = reserved.take(run);
            if taken == Ok(true) {
                contiguous.frames += run.len as u32;
                continue;
            }
            let next = FrameId(first.0 + contiguous.frames);
            self.free_contiguous(contiguous);
            taken?;
            return Err(in_the_way(next, FrameStatus::Busy));
        }
        Ok(contiguous)
    }

    /// Returns the parts of a range of frames that lie in one block each.
    pub(crate) fn runs_of(
        &self,
        first: FrameId,
        len: usize,
    ) -> impl Iterator<Item = FrameRun> + Clone {
        let in_block = self.blocks.frames;
        let (mut next, end) = (first.index(), first.index() + len);
        core::iter::from_fn(move || {
            let start = next % in_block;
            let len = (end - next).min(in_block - start);
            let block = BlockId::at(next / in_block);
            next += len;
            (len > 0).then_some(FrameRun { block, start, len })
        })
    }
}
