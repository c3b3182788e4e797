//! The outcome of an attempt to isolate or move a frame, and the reasons for moves.

use crate::size::FrameId;
use core::fmt;

/// The outcome of an attempt to move one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrameStatus {
    /// The call ended before it was its turn.
    #[default]
    Pending,
    /// Its contents are in this frame now.
    Moved(FrameId),
    /// Nothing in it was in use any more: it was freed.
    Freed,
    /// Locked, being written to, or still read from elsewhere: to be tried again.
    Busy,
    /// A free frame.
    NotInUse,
    /// Not a frame of this arena.
    NoSuchFrame,
    /// Its owner is none of those given, or cannot move it.
    NotMovable,
    /// Somebody else is moving it.
    AlreadyIsolated,
    /// Out of use for ever.
    Offline,
    /// There was no frame to move it to.
    NoMemory,
    /// Its owner's frames cannot be moved in this mode.
    WrongMode,
}

impl FrameStatus {
    /// Says whether its contents, if any, are elsewhere.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Moved(_) | Self::Freed | Self::NotInUse)
    }
}

impl fmt::Display for FrameStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("not tried yet"),
            Self::Moved(to) => write!(f, "moved to {to}"),
            Self::Freed => f.write_str("freed"),
            Self::Busy => f.write_str("busy, to be tried again"),
            Self::NotInUse => f.write_str("free"),
            Self::NoSuchFrame => f.write_str("not a frame of the arena"),
            Self::NotMovable => f.write_str("its owner cannot move it"),
            Self::AlreadyIsolated => f.write_str("being moved"),
            Self::Offline => f.write_str("offline"),
            Self::NoMemory => f.write_str("no memory to move it to"),
            Self::WrongMode => f.write_str("its owner cannot move it in this mode"),
        }
    }
}

/// The purpose of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MigrateReason {
    /// Somebody's own list of frames.
    #[default]
    List,
    /// Compaction of a zone.
    Compaction,
    /// Room for a contiguous range.
    Contiguous,
    /// A frame or zone that goes out of use.
    Offline,
    /// Cold frames to a slower zone.
    Demotion,
    /// Hot frames to a faster zone.
    Promotion,
}

impl MigrateReason {
    /// The number of them.
    pub const COUNT: usize = 6;
}
