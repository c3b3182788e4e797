//! A range of pageblocks under one lock.
//!
//! # Locking
//!
//! Every method takes the zone's lock for one bounded piece of work (a pageblock, or a look at 64
//! of them), and returns before the backing is called: frames whose memory comes or goes are
//! meanwhile neither free nor anybody's, so nobody else can meet them.

pub(crate) mod block;
pub(crate) mod compaction;
pub(crate) mod state;

use crate::frame::cache::FrameBatch;
use crate::frame::mask::FrameMask;
use crate::size::FrameId;
use crate::zone::block::{BlockId, Blocks};
use crate::zone::state::ZoneState;
use zs_sync::{Host, LockName, Mutex, MutexGuard};

/// A range of pageblocks with counters of its own.
#[derive(Debug)]
pub(crate) struct Zone {
    first: BlockId,
    end: BlockId,
    state: Mutex<ZoneState>,
}

/// The caller's next step to have memory committed.
#[derive(Debug)]
pub(crate) enum CommitPlan {
    /// Commit this run, then call `finish_commit`. The frames are taken.
    Run(FrameRun),
    /// Commit the metadata of this block, call `open_block`, and ask again.
    NeedsBlock(BlockId),
    /// Every frame of the zone is taken or committed.
    Exhausted,
}

/// Blocks that are looked at in one hold of the lock.
pub(crate) const LOOK_AT: usize = 64;

/// Neighbouring frames of one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameRun {
    pub(crate) block: BlockId,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl FrameRun {
    /// Returns the frames of the run, in order.
    pub(crate) fn frames(self, blocks: &Blocks) -> impl Iterator<Item = FrameId> + Clone {
        let first = blocks.frame(self.block, self.start).0;
        (first..).take(self.len).map(FrameId)
    }
}

impl Zone {
    pub(crate) fn new(first: BlockId, end: BlockId, now_ns: u64) -> Self {
        Self {
            first,
            end,
            state: Mutex::new(LockName::Zone, ZoneState::new(first, now_ns)),
        }
    }

    pub(crate) fn lock<'a>(&'a self, host: &'a dyn Host) -> MutexGuard<'a, ZoneState> {
        self.state.lock(host)
    }

    pub(crate) fn contains(&self, block: BlockId) -> bool {
        (self.first..self.end).contains(&block)
    }

    /// Returns all blocks, opened or not.
    pub(crate) fn blocks(&self) -> core::ops::Range<BlockId> {
        self.first..self.end
    }

    /// Returns the blocks that were ever opened.
    pub(crate) fn opened(&self, state: &ZoneState) -> core::ops::Range<BlockId> {
        self.first..state.next_virgin()
    }

    /// Says whether there are free frames, but none with memory.
    pub(crate) fn has_only_bare(&self, host: &dyn Host) -> bool {
        let state = self.state.lock(host);
        state.fullest_ready().is_none()
            && (state.first_bare().is_some() || state.next_virgin() < self.end)
    }

    /// Takes up to `want` free committed frames of one block, the fullest that has any; whole
    /// blocks stay whole as long as can be.
    pub(crate) fn take_ready(&self, host: &dyn Host, blocks: &Blocks, want: usize) -> FrameBatch {
        let mut state = self.state.lock(host);
        let mut batch = FrameBatch::default();
        let Some(block) = state.fullest_ready().filter(|_| state.is_online()) else {
            return batch;
        };
        let mut taken = FrameMask::default();
        let ready = blocks.ready(block);
        for frame in ready.iter().take(want.min(FrameBatch::CAPACITY)) {
            taken.insert(frame);
            batch.push(blocks.frame(block, frame));
        }
        state.change(blocks, block, |free, committed| {
            (free.without(taken), committed)
        });
        batch
    }

    /// Takes up to `want` neighbouring frames without memory, in whole groups of `group`.
    pub(crate) fn plan_commit(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        want: usize,
        group: usize,
    ) -> CommitPlan {
        let mut state = self.state.lock(host);
        if !state.is_online() {
            return CommitPlan::Exhausted;
        }
        let Some(block) = state.first_bare() else {
            return if state.next_virgin() < self.end {
                CommitPlan::NeedsBlock(state.next_virgin())
            } else {
                CommitPlan::Exhausted
            };
        };
        // Commit and decommit work on whole groups, so what is uncommitted is free in groups.
        let bare = blocks.free(block).without(blocks.committed(block));
        let Some((start, len)) = bare.runs().next() else {
            debug_assert!(false, "a listed block has free frames");
            return CommitPlan::Exhausted;
        };
        let len = len.min(want - want % group);
        let taken = FrameMask::range(start, len);
        state.change(blocks, block, |free, committed| {
            (free.without(taken), committed)
        });
        CommitPlan::Run(FrameRun { block, start, len })
    }

    /// Opens `block` if it is still the next one; its record and descriptors are committed.
    pub(crate) fn open_block(&self, host: &dyn Host, blocks: &Blocks, block: BlockId) {
        self.state.lock(host).open(blocks, block);
    }

    /// Ends a commit: the frames of `run` now have memory, or (`done` is false) are free again.
    pub(crate) fn finish_commit(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        run: FrameRun,
        done: bool,
    ) {
        let frames = FrameMask::range(run.start, run.len);
        self.state
            .lock(host)
            .change(blocks, run.block, |free, committed| {
                if done {
                    (free, committed.or(frames))
                } else {
                    (free.or(frames), committed)
                }
            });
    }

    /// Takes the memory from frames that somebody has: it was decommitted.
    pub(crate) fn lose_memory(&self, host: &dyn Host, blocks: &Blocks, run: FrameRun) {
        let frames = FrameMask::range(run.start, run.len);
        self.state
            .lock(host)
            .change(blocks, run.block, |free, committed| {
                (free, committed.without(frames))
            });
    }

    /// Says whether the first frame of a run has memory.
    pub(crate) fn has_memory(&self, host: &dyn Host, blocks: &Blocks, run: FrameRun) -> bool {
        let _state = self.state.lock(host);
        blocks.committed(run.block).contains(run.start)
    }

    /// Puts committed frames back: all those of `batch` that belong to this zone.
    pub(crate) fn put(&self, host: &dyn Host, blocks: &Blocks, batch: &FrameBatch) {
        let mut state = self.state.lock(host);
        for &frame in batch.frames() {
            let block = blocks.block_of(frame);
            if self.contains(block) {
                state.change_counts(blocks, block, || {
                    blocks.insert_ready(block, blocks.in_block(frame));
                });
            }
        }
    }
}
