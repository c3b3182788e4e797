//! What an owner of movable frames must do.

use super::lock::FrameLock;
use super::status::MigrateMode;
use crate::arena::frames::Frame;
use crate::frame::descriptor::{FrameOwner, FrameType, PoolKey};

/// What an owner says of a frame that is about to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// From now on nobody writes to the frame.
    Ready,
    /// Nothing in the frame lives any more: there is nothing to copy, `putback` gives it up.
    Empty,
    /// Somebody writes to it: to be tried again.
    Busy,
}

/// What became of a frame that was put back.
#[derive(Debug, PartialEq, Eq)]
pub enum PutBack {
    /// It is in use.
    Kept,
    /// Nothing in it lives any more: to be freed, now and only now.
    Free(Frame),
    /// The same, and its owner has freed it.
    Gone,
}

/// An owner of frames that can be moved: a pool, a balloon.
///
/// Owners are lent to each call that moves frames
/// ([`Arena::migrate_pages`](crate::Arena::migrate_pages)); frames of others stay where they are.
/// So an owner that is gone is never called.
///
/// A frame's methods are called with its lock held, in the order `isolate`, (`prepare` as often as
/// it takes, then `commit`) or `putback`.
///
/// # Safety
/// An implementation promises:
/// 1. After `prepare` has answered [`Prepared::Ready`], and until `commit` or `putback`, nobody
///    writes to the frame; what is in use of it is initialised.
/// 2. After `commit`, the bytes of the new frame are the frame's contents, and nobody begins to use
///    the old one. `commit` returns the old frame only if nobody uses it any more; else it keeps it
///    until then.
/// 3. A frame that it accepts to isolate is its own, as its descriptor says, and stays so until
///    `commit` or `putback`.
pub unsafe trait Movable: Sync {
    /// Returns the claim to its frames.
    fn key(&self) -> &PoolKey;

    /// Returns the type of its frames.
    fn frame_type(&self) -> FrameType {
        FrameType::Zspage
    }

    /// Says whether its frames can be moved in this way. Here: in every way.
    fn serves(&self, _mode: MigrateMode) -> bool {
        true
    }

    /// Says whether a frame has contents that must be copied. Here: yes.
    fn has_contents(&self) -> bool {
        true
    }

    /// Marks a frame: from now on it takes no new object; those in it may be read and freed. False
    /// if it is not (or no longer) its owner's, is marked already, or has a predecessor that
    /// drains.
    fn isolate(&self, frame: &FrameLock<'_>, owner: FrameOwner) -> bool;

    /// Sees to it that nobody writes to an isolated frame. Never waits.
    fn prepare(&self, frame: &FrameLock<'_>, owner: FrameOwner) -> Prepared;

    /// Puts `to`, which holds the same bytes, in the place of an isolated frame that was prepared.
    /// Returns the old frame, if nobody is inside; else it keeps it until then (see
    /// [`drain`](Self::drain)), or has freed it.
    fn commit(&self, frame: &FrameLock<'_>, owner: FrameOwner, to: Frame) -> Option<Frame>;

    /// Takes an isolated frame back, unless nothing in it lives any more.
    fn putback(&self, frame: &FrameLock<'_>, owner: FrameOwner) -> PutBack;

    /// Looks at the old frames that drain, and frees those that nobody is inside of any more
    /// ([`Arena::end_drain`](crate::Arena::end_drain)). Called with no lock held, before memory is
    /// said to be short.
    fn drain(&self) {}
}
