//! A range of pageblocks under one lock.
//!
//! # Locking
//!
//! Every method takes the zone's lock for one bounded piece of work (a pageblock, or a look at 64
//! of them), and returns before the backing is called: frames whose memory comes or goes are
//! meanwhile neither free nor anybody's, so nobody else can meet them.

pub(crate) mod block;
pub(crate) mod compaction;

use crate::frame::cache::FrameBatch;
use crate::frame::mask::FrameMask;
use crate::zone::block::{BlockId, Blocks, EMPTY_LIST, LISTS, NO_BLOCK, READY_LISTS};
use crate::zone::compaction::{Deferral, Scan};
use zs_sync::{Host, LockName, Mutex, MutexGuard};

/// A range of pageblocks with counters of its own.
#[derive(Debug)]
pub(crate) struct Zone {
    first: BlockId,
    end: BlockId,
    state: Mutex<ZoneState>,
}

/// Whether a zone hands anything out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ZoneLife {
    /// It does.
    Online,
    /// Not while somebody empties it.
    Leaving,
    /// It is empty, and without memory.
    Offline,
}

/// What the lock guards, beside the records of the zone's blocks.
#[derive(Debug)]
pub(crate) struct ZoneState {
    heads: [BlockId; LISTS],
    /// The lowest block that was never opened: its record and descriptors may be uncommitted.
    pub(crate) next_virgin: BlockId,
    pub(crate) life: ZoneLife,
    /// Free committed frames that anybody may take.
    pub(crate) ready: usize,
    /// The least that `ready` has been since the last tick: what nobody needed meanwhile.
    pub(crate) low: usize,
    /// Frames that nobody needed in the last whole interval, and that were not given back yet.
    pub(crate) due: usize,
    pub(crate) last_tick_ns: u64,
    /// Somebody compacts the zone.
    pub(crate) compacting: bool,
    /// Where its scanners are between two calls; `None` if the last pass is over.
    pub(crate) scan: Option<Scan>,
    pub(crate) deferral: Deferral,
}

/// What the caller must do next to have memory committed.
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
pub(crate) const LOOK_AT: u32 = 64;

/// Neighbouring frames of one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameRun {
    pub(crate) block: BlockId,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Zone {
    pub(crate) fn new(first: BlockId, end: BlockId, now_ns: u64) -> Self {
        let state = ZoneState {
            heads: [NO_BLOCK; LISTS],
            next_virgin: first,
            life: ZoneLife::Online,
            ready: 0,
            low: 0,
            due: 0,
            last_tick_ns: now_ns,
            compacting: false,
            scan: None,
            deferral: Deferral::default(),
        };
        Self {
            first,
            end,
            state: Mutex::new(LockName::Zone, state),
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
        self.first..state.next_virgin
    }

    /// Says whether there are free frames, but none with memory.
    pub(crate) fn has_only_bare(&self, host: &dyn Host) -> bool {
        let state = self.state.lock(host);
        let some = |heads: &[BlockId]| heads.iter().any(|&head| head != NO_BLOCK);
        !some(&state.heads[READY_LISTS]) && (some(&state.heads) || state.next_virgin < self.end)
    }

    /// Takes up to `want` free committed frames of one block, the fullest that has any; whole
    /// blocks stay whole as long as can be.
    pub(crate) fn take_ready(&self, host: &dyn Host, blocks: &Blocks, want: usize) -> FrameBatch {
        let mut state = self.state.lock(host);
        let mut batch = FrameBatch::default();
        let heads = &state.heads[READY_LISTS];
        let fullest = heads.iter().find(|&&head| head != NO_BLOCK);
        let Some(&block) = fullest.filter(|_| state.is_online()) else {
            return batch;
        };
        let mut taken = FrameMask::default();
        let ready = blocks.ready(block);
        for frame in ready.iter().take(want.min(FrameBatch::CAPACITY)) {
            taken.insert(frame);
            batch.push((block as usize * blocks.frames + frame) as u32);
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
        let heads = &state.heads[READY_LISTS.end..LISTS];
        let Some(&block) = heads.iter().find(|&&head| head != NO_BLOCK) else {
            return if state.next_virgin < self.end {
                CommitPlan::NeedsBlock(state.next_virgin)
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
        let mut state = self.state.lock(host);
        if state.next_virgin == block {
            state.next_virgin += 1;
            state.change(blocks, block, |_, _| {
                (FrameMask::range(0, blocks.frames), FrameMask::default())
            });
        }
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
            let block = (frame as usize / blocks.frames) as BlockId;
            if self.contains(block) {
                state.change_counts(blocks, block, || {
                    blocks.insert_ready(block, frame as usize % blocks.frames);
                });
            }
        }
    }
}

impl ZoneState {
    pub(crate) fn is_online(&self) -> bool {
        self.life == ZoneLife::Online
    }

    /// Returns the first block of a list, or [`NO_BLOCK`].
    pub(crate) fn head(&self, list: usize) -> BlockId {
        self.heads[list]
    }

    /// Changes a block: new bitmaps, the counts and the list that follow from them, the counter.
    pub(crate) fn change(
        &mut self,
        blocks: &Blocks,
        block: BlockId,
        bitmaps: impl FnOnce(FrameMask, FrameMask) -> (FrameMask, FrameMask),
    ) {
        self.change_counts(blocks, block, || {
            let (free, committed) = bitmaps(blocks.free(block), blocks.committed(block));
            blocks.set_bitmaps(block, free, committed);
        });
    }

    /// Makes a change to a block's bitmaps, counts and flags; the list and the counter follow.
    pub(crate) fn change_counts(&mut self, blocks: &Blocks, block: BlockId, change: impl FnOnce()) {
        let list_before = blocks.list_of(block);
        let ready_before = blocks.available(block);
        change();
        self.ready = self.ready + blocks.available(block) - ready_before;
        self.low = self.low.min(self.ready);
        let list = blocks.list_of(block);
        if list != list_before {
            if let Some(list) = list_before {
                self.unlink(blocks, block, list);
            }
            if let Some(list) = list {
                self.link(blocks, block, list);
            }
        }
    }

    fn link(&mut self, blocks: &Blocks, block: BlockId, list: usize) {
        let next = self.heads[list];
        blocks.set_links(block, NO_BLOCK, next);
        if next != NO_BLOCK {
            blocks.set_links(next, block, blocks.links(next).1);
        }
        self.heads[list] = block;
    }

    fn unlink(&mut self, blocks: &Blocks, block: BlockId, list: usize) {
        let (previous, next) = blocks.links(block);
        if previous == NO_BLOCK {
            self.heads[list] = next;
        } else {
            blocks.set_links(previous, blocks.links(previous).0, next);
        }
        if next != NO_BLOCK {
            blocks.set_links(next, previous, blocks.links(next).1);
        }
    }
}

const _: () = assert!(EMPTY_LIST + 1 == LISTS);
