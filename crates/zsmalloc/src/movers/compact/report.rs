//! How much a compaction may do, and what it did.

/// The bounds of one compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactBudget {
    /// The most objects that are moved.
    pub objects: u64,
    /// It ends soon (some 32 moves at most) after so many frames have been freed, those that it
    /// had to attach taken off.
    pub frames: u64,
}

impl CompactBudget {
    /// As much as there is to do.
    pub const UNLIMITED: Self = Self {
        objects: u64::MAX,
        frames: u64::MAX,
    };

    /// Allows at most `objects` moves. With 0, nothing is done.
    pub const fn objects(objects: u64) -> Self {
        Self {
            objects,
            ..Self::UNLIMITED
        }
    }

    /// Allows about `frames` frames. With 0, nothing is done.
    pub const fn frames(frames: u64) -> Self {
        Self {
            frames,
            ..Self::UNLIMITED
        }
    }
}

/// Why a compaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactEnd {
    /// Nothing is left that could be moved with profit, but for objects that were in use, and for
    /// classes whose zspages others closed faster than they could be looked at.
    Done,
    /// The budget is spent. The next call goes on where this one ended.
    Budget,
    /// The caller wished so.
    Stopped,
    /// Moves are paused ([`Arena::pause_moves`](zs_mm::Arena::pause_moves), or by a forked child
    /// that shares the memory).
    Paused,
    /// Another thread is compacting this pool.
    Elsewhere,
}

/// The outcome of one compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactReport {
    /// Why it ended.
    pub end: CompactEnd,
    /// Objects that were moved.
    pub objects_moved: u64,
    /// Bytes of those objects.
    pub bytes_moved: u64,
    /// Objects that stayed because somebody used them just then.
    pub objects_busy: u64,
    /// Frames that were emptied, and given to the arena.
    pub frames_freed: u64,
    /// Frames that were taken from the arena to move objects to.
    pub frames_attached: u64,
}
