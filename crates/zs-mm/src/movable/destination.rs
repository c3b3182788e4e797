//! Where frames go.

use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::backing::Backing;
use crate::size::{FrameId, ZoneId};
use core::fmt;

/// Frames to move others to.
pub trait Destination {
    /// Returns a frame for the contents of `source`, committed; `None` if there is none. Called
    /// with no lock held, in the middle of a move: it must not wait for a pause of moves.
    fn frame_for(&mut self, source: FrameId) -> Option<Frame>;

    /// Takes a frame back that was not needed.
    fn unused(&mut self, frame: Frame);
}

/// Any frame of the arena.
pub struct Anywhere<'a, B: Backing>(pub &'a Arena<B>);

/// Any frame of one zone.
pub struct InZone<'a, B: Backing>(pub &'a Arena<B>, pub ZoneId);

impl<B: Backing> fmt::Debug for Anywhere<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anywhere")
    }
}

impl<B: Backing> Destination for Anywhere<'_, B> {
    fn frame_for(&mut self, _source: FrameId) -> Option<Frame> {
        self.0.alloc_frame().ok()
    }

    fn unused(&mut self, frame: Frame) {
        self.0.free_frame(frame);
    }
}

impl<B: Backing> fmt::Debug for InZone<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InZone").field(&self.1).finish()
    }
}

impl<B: Backing> Destination for InZone<'_, B> {
    fn frame_for(&mut self, _source: FrameId) -> Option<Frame> {
        self.0.alloc_frame_in(self.1).ok()
    }

    fn unused(&mut self, frame: Frame) {
        self.0.free_frame(frame);
    }
}
