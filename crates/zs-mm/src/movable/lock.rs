//! The frame lock: a bit of the frame's descriptor.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::frame::descriptor::{Descriptor, FrameType, LOCKED};
use crate::size::FrameId;
use zs_sync::{AtomicU64, Ordering, Peek, assert_may_block};

/// A locked frame; the lock ends with the value. Made by the arena alone, so only it calls owners.
#[derive(Debug)]
#[must_use = "the lock ends with the value"]
pub struct FrameLock<'a> {
    descriptor: &'a AtomicU64,
    frame: FrameId,
}

impl<B: Backing> Arena<B> {
    /// Locks a frame that is in use, unless somebody else has it locked. Never waits.
    pub(super) fn try_lock_frame(&self, frame: FrameId) -> Option<FrameLock<'_>> {
        let descriptor = self.descriptors.get(frame.index())?;
        // Relaxed: only to write to no descriptor without memory; those of frames in use have some.
        if Descriptor(descriptor.peek(Ordering::Relaxed)).frame_type() == FrameType::Free {
            return None;
        }
        // Acquire pairs with the Release of the last holder.
        let before = descriptor.fetch_or(LOCKED, Ordering::Acquire);
        // Made only by who has it: its drop unlocks.
        (before & LOCKED == 0).then(|| FrameLock { descriptor, frame })
    }

    /// Locks a frame that is in use, once its holder lets go of it; `None` if it is free. For who
    /// has isolated it: then others hold the lock for a look. Nobody waits with another frame's
    /// lock held.
    pub(super) fn lock_frame(&self, frame: FrameId) -> Option<FrameLock<'_>> {
        assert_may_block();
        loop {
            if let Some(lock) = self.try_lock_frame(frame) {
                return Some(lock);
            }
            if self.frame_descriptor(frame)?.frame_type() == FrameType::Free {
                return None;
            }
            self.host.yield_now();
        }
    }
}

impl FrameLock<'_> {
    /// Returns the frame.
    pub fn frame(&self) -> FrameId {
        self.frame
    }

    /// Returns the frame's descriptor.
    pub(super) fn descriptor(&self) -> &AtomicU64 {
        self.descriptor
    }
}

impl Drop for FrameLock<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire of the next holder.
        self.descriptor.fetch_and(!LOCKED, Ordering::Release);
    }
}
