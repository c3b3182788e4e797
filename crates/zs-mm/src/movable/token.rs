//! A frame that is isolated.

use super::contract::{Movable, Prepared, PutBack};
use super::lock::FrameLock;
use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::arena::move_counters::count;
use crate::backing::Backing;
use crate::frame::descriptor::{FrameOwner, FrameType, ISOLATED};
use crate::frame_status::FrameStatus;
use crate::size::FrameId;
use core::fmt;
use zs_sync::{Ordering, assert_may_block};

/// A frame that is isolated: no new object comes into it until it has been moved or put back.
///
/// Used up exactly once: by a move that succeeds, or by being put back, which dropping it does. It
/// keeps its owner from being destroyed.
#[must_use = "dropping it puts the frame back"]
pub struct Isolated<'o, B: Backing> {
    arena: &'o Arena<B>,
    owner: &'o dyn Movable,
    frame: FrameId,
    place: FrameOwner,
}

impl<B: Backing> fmt::Debug for Isolated<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Isolated").field(&self.frame).finish()
    }
}

/// What became of a frame's move.
#[derive(Debug)]
pub(super) enum Move<'o, B: Backing> {
    /// It is elsewhere, or there was nothing in it.
    Over(FrameStatus),
    /// To be tried again.
    Again(Isolated<'o, B>),
    /// There is no frame to move it to.
    NoMemory(Isolated<'o, B>),
}

impl<B: Backing> Arena<B> {
    /// Isolates a frame of one of `owners`. With `wait`, waits for the frame's lock if somebody
    /// else is about to isolate it.
    ///
    /// # Errors
    /// Why not: [`FrameStatus::NoSuchFrame`], `NotInUse`, `Offline`, `NotMovable` (nobody's of
    /// these owners', or in a contiguous range, or this is a forked child), `AlreadyIsolated`,
    /// `Busy` (locked, just being attached or freed, or a frame that it replaced is still being
    /// read: to be tried again).
    pub fn isolate<'o>(
        &'o self,
        frame: FrameId,
        owners: &[&'o dyn Movable],
        wait: bool,
    ) -> Result<Isolated<'o, B>, FrameStatus> {
        if self.is_forked() {
            return Err(FrameStatus::NotMovable);
        }
        if wait {
            assert_may_block();
        }
        let (owner, place, lock) = loop {
            // Each time: who has the lock may have isolated the frame, and keep it locked
            // (`collect`).
            let (owner, place) = self.movable_owner(frame, owners)?;
            match self.try_lock_frame(frame) {
                Some(lock) => break (owner, place, lock),
                None if wait => self.host.yield_now(),
                None => return Err(FrameStatus::Busy),
            }
        };
        if !owner.isolate(&lock, place) {
            return Err(FrameStatus::Busy);
        }
        // Relaxed: a hint; the owner's mark was set before, under its own lock.
        lock.descriptor().fetch_or(ISOLATED, Ordering::Relaxed);
        count(&self.counters_of(frame).isolated, 1);
        Ok(Isolated {
            arena: self,
            owner,
            frame,
            place,
        })
    }

    /// Returns the owner of a frame, as its descriptor says; a descriptor may change at any time.
    pub(crate) fn movable_owner<'o>(
        &self,
        frame: FrameId,
        owners: &[&'o dyn Movable],
    ) -> Result<(&'o dyn Movable, FrameOwner), FrameStatus> {
        let descriptor = self
            .frame_descriptor(frame)
            .ok_or(FrameStatus::NoSuchFrame)?;
        let frame_type = descriptor.frame_type();
        match frame_type {
            FrameType::Free => return Err(FrameStatus::NotInUse),
            FrameType::Offline => return Err(FrameStatus::Offline),
            FrameType::Block => return Err(FrameStatus::NotMovable),
            FrameType::Zspage | FrameType::Balloon => {}
        }
        if descriptor.is_isolated() {
            return Err(FrameStatus::AlreadyIsolated);
        }
        let place = descriptor.owner().ok_or(FrameStatus::Busy)?;
        let is_owner = |owner: &&&'o dyn Movable| {
            let key = owner.key();
            key.arena == self.id && key.pool == place.pool && owner.frame_type() == frame_type
        };
        let owner = owners.iter().find(is_owner);
        Ok((*owner.ok_or(FrameStatus::NotMovable)?, place))
    }
}

impl<'o, B: Backing> Isolated<'o, B> {
    /// Returns the frame.
    pub fn frame(&self) -> FrameId {
        self.frame
    }

    /// Returns where it belongs.
    pub fn owner(&self) -> FrameOwner {
        self.place
    }

    /// Returns the owner.
    pub(super) fn movable(&self) -> &'o dyn Movable {
        self.owner
    }

    /// Returns what the owner says of a move.
    pub(super) fn prepare(&self, lock: &FrameLock<'_>) -> Prepared {
        self.owner.prepare(lock, self.place)
    }

    /// Hands the frame's place to `to`, which has its bytes. The frame was prepared. The old frame,
    /// if nobody is inside, is to be freed once the lock is released.
    pub(super) fn commit(self, lock: &FrameLock<'_>, to: Frame) -> (FrameStatus, Option<Frame>) {
        let moved_to = to.id();
        let old = self.owner.commit(lock, self.place, to);
        self.arena.count_move(self.frame, moved_to);
        // Used up: its drop would put the frame back.
        core::mem::forget(self);
        (FrameStatus::Moved(moved_to), old)
    }

    /// Gives a frame back in which nothing lives any more; a frame that has got back to life stays.
    pub(super) fn end(self) -> FrameStatus {
        let freed = self.put_back();
        core::mem::forget(self);
        if freed {
            FrameStatus::Freed
        } else {
            FrameStatus::Busy
        }
    }

    /// Ends the isolation; whether the frame was freed. In a forked child, where locks may be held
    /// by threads that do not exist, nothing is done.
    fn put_back(&self) -> bool {
        if self.arena.is_forked() {
            return false;
        }
        let outcome = self.arena.lock_frame(self.frame).map(|lock| {
            // Relaxed: a hint, cleared before the owner's mark.
            lock.descriptor().fetch_and(!ISOLATED, Ordering::Relaxed);
            self.owner.putback(&lock, self.place)
        });
        count(&self.arena.counters_of(self.frame).isolated, -1);
        match outcome {
            Some(PutBack::Free(frame)) => self.arena.free_frame(frame),
            Some(PutBack::Gone) => {}
            Some(PutBack::Kept) | None => return false,
        }
        true
    }
}

impl<B: Backing> Drop for Isolated<'_, B> {
    fn drop(&mut self) {
        self.put_back();
    }
}
