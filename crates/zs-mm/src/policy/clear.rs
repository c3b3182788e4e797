//! What is in use of some frames is moved away, so that somebody can have the frames themselves.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::error::Error;
use crate::frame::mask::FrameMask;
use crate::frame_status::{FrameStatus, MigrateReason};
use crate::movable::{Anywhere, MigrateEnd, MigrateMode, MigrateOptions, Movable, PIECE};
use crate::size::FrameId;
use crate::zone::block::BlockId;

/// How often what is in the way is asked to go.
const TRIES: usize = if cfg!(zs_loom) { 2 } else { 5 };

/// Returns an error that names what is in the way.
pub(crate) fn in_the_way(frame: FrameId, status: FrameStatus) -> Error {
    Error::InTheWay { frame, status }
}

impl<B: Backing> Arena<B> {
    /// Moves away what is in use of `parts`, sets of frames by their block, in a few tries; then
    /// all of them are free. The caller sees to it that what becomes free stays so. What nobody
    /// of `owners` can move is an error before anything is moved.
    ///
    /// # Errors
    /// [`Error::InTheWay`] with the first frame that is not free in the end; [`Error::NoMemory`],
    /// [`Error::MovesPaused`].
    pub(crate) fn clear(
        &self,
        parts: impl Iterator<Item = (BlockId, FrameMask)> + Clone,
        owners: &[&dyn Movable],
        reason: MigrateReason,
    ) -> Result<(), Error> {
        for (block, wanted) in parts.clone() {
            let used = wanted.without(self.free_of(block)).iter();
            let used = used.map(|frame| self.frame_of(block, frame));
            if let Some((frame, status)) = self.refused(used, owners) {
                return Err(in_the_way(frame, status));
            }
        }
        let mut obstacle = None;
        for again in 0..TRIES {
            if again > 0 {
                // Who is on its way to the zone with a frame, or inside of one that was moved, may
                // be through.
                self.host.yield_now();
            }
            obstacle = None;
            for (block, wanted) in parts.clone() {
                let left = self.clear_block(block, wanted, owners, reason)?;
                obstacle = obstacle.or(left);
            }
            if obstacle.is_none() {
                break;
            }
        }
        obstacle.map_or(Ok(()), |(frame, status)| Err(in_the_way(frame, status)))
    }

    /// Moves away what is in use of some frames of a block; the first frame that is not free then.
    fn clear_block(
        &self,
        block: BlockId,
        wanted: FrameMask,
        owners: &[&dyn Movable],
        reason: MigrateReason,
    ) -> Result<Option<(FrameId, FrameStatus)>, Error> {
        let mut used = wanted.without(self.free_of(block)).iter();
        let options = MigrateOptions::new(MigrateMode::Sync).because(reason);
        let mut failed = None;
        loop {
            let (mut frames, mut status) = ([FrameId(0); PIECE], [FrameStatus::Pending; PIECE]);
            let mut count = 0;
            for (place, frame) in frames.iter_mut().zip(used.by_ref()) {
                *place = self.frame_of(block, frame);
                count += 1;
            }
            if count == 0 {
                break;
            }
            let to = &mut Anywhere(self);
            let report = self.migrate_pages(&frames[..count], owners, to, options, &mut status);
            match report.end {
                MigrateEnd::Done => {}
                MigrateEnd::NoMemory => return Err(Error::NoMemory),
                MigrateEnd::Stopped | MigrateEnd::Paused => return Err(Error::MovesPaused),
            }
            let mut outcomes = frames.into_iter().zip(status).take(count);
            failed = failed.or_else(|| outcomes.find(|(_, status)| !status.is_gone()));
        }
        // What was moved may still be read, what was freed may be on its way.
        let left = wanted.without(self.free_of(block)).first();
        let left = left.map(|frame| (self.frame_of(block, frame), FrameStatus::Busy));
        Ok(left.map(|left| failed.unwrap_or(left)))
    }

    /// Returns the first of some frames that nobody of `owners` can move, by its descriptor.
    pub(crate) fn refused(
        &self,
        mut frames: impl Iterator<Item = FrameId>,
        owners: &[&dyn Movable],
    ) -> Option<(FrameId, FrameStatus)> {
        frames.find_map(|frame| match self.movable_owner(frame, owners) {
            Err(status @ (FrameStatus::NotMovable | FrameStatus::Offline)) => Some((frame, status)),
            _ => None,
        })
    }

    /// Returns the frames of an opened block that are free.
    pub(crate) fn free_of(&self, block: BlockId) -> FrameMask {
        let _state = self.zone_of(block).lock(self.host);
        self.blocks.free(block)
    }

    /// Returns a frame, by its number in its block.
    pub(crate) fn frame_of(&self, block: BlockId, frame: usize) -> FrameId {
        self.blocks.frame(block, frame)
    }
}
