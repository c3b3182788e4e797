//! Free frames for compaction, from the lowest blocks up.

use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::backing::Backing;
use crate::frame::cache::FrameBatch;
use crate::frame::mask::FrameMask;
use crate::movable::Destination;
use crate::size::FrameId;
use crate::zone::block::{BlockId, Blocks};
use crate::zone::{FrameRun, LOOK_AT, Zone};
use core::fmt;
use zs_sync::Host;

/// Takes free frames of blocks that are partly in use, below a certain one; whole free blocks stay
/// so. Frames with memory first; others are committed, unless that failed once. What is left over
/// goes back to the zone.
pub(crate) struct FreeScanner<'a, B: Backing> {
    arena: &'a Arena<B>,
    zone: &'a Zone,
    at: BlockId,
    end: BlockId,
    frames: FrameBatch,
    commits: bool,
}

/// The outcome of a look for free frames.
enum Found {
    /// These, with memory.
    Ready(FrameBatch),
    /// These, without.
    Bare(FrameRun),
    /// Nothing down from this block: look on there.
    LookAbove(BlockId),
}

impl<B: Backing> fmt::Debug for FreeScanner<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreeScanner")
            .field("at", &self.at)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<'a, B: Backing> FreeScanner<'a, B> {
    /// Makes a scanner of the blocks from `at` to, and without, `end`.
    pub(crate) fn new(arena: &'a Arena<B>, zone: &'a Zone, at: BlockId, end: BlockId) -> Self {
        Self {
            arena,
            zone,
            at,
            end,
            frames: FrameBatch::default(),
            commits: true,
        }
    }

    /// Returns the block that it is at.
    pub(crate) fn block(&self) -> BlockId {
        self.at
    }

    /// Says whether it left frames out because it could not commit them.
    pub(crate) fn lacked_memory(&self) -> bool {
        !self.commits
    }

    fn next(&mut self) -> Option<FrameId> {
        let arena = self.arena;
        while self.frames.is_empty() && self.at < self.end {
            let found = self.zone.look_for_free(
                arena.host,
                &arena.blocks,
                self.at..self.end,
                self.commits.then(|| arena.frames_per_run()),
            );
            match found {
                Found::Ready(frames) => {
                    self.at = arena.block_of(frames.frames()[0]);
                    self.frames = frames;
                }
                Found::Bare(run) => {
                    self.at = run.block;
                    self.commit(run);
                }
                Found::LookAbove(block) => self.at = block,
            }
        }
        let frame = self.frames.pop()?;
        if arena.options.huge_blocks && self.frames.is_empty() {
            arena.advise_if_full(arena.block_of(frame));
        }
        Some(frame)
    }

    /// Commits a run that was taken, as far as the limit allows.
    fn commit(&mut self, run: FrameRun) {
        let arena = self.arena;
        let run = arena.charge_run(run);
        let Some(run) = run.ok().filter(|&run| arena.commit_frames(run).is_ok()) else {
            self.commits = false;
            return;
        };
        for frame in run.start..run.start + run.len {
            if self.frames.len() == FrameBatch::CAPACITY {
                arena.put(&core::mem::take(&mut self.frames));
            }
            self.frames.push(arena.frame_of(run.block, frame));
        }
    }
}

impl<B: Backing> Destination for FreeScanner<'_, B> {
    fn frame_for(&mut self, source: FrameId) -> Option<Frame> {
        let frame = self.next()?;
        debug_assert!(frame < source, "the scanners keep apart");
        Some(self.arena.hand_out(frame))
    }

    fn unused(&mut self, frame: Frame) {
        self.arena.free_frame(frame);
    }
}

impl<B: Backing> Drop for FreeScanner<'_, B> {
    fn drop(&mut self) {
        self.arena.put(&self.frames);
    }
}

impl Zone {
    /// Takes free frames of the first of `among` that is partly in use and has any: up to a handful
    /// with memory, else up to `bare` neighbours without. Looks at [`LOOK_AT`] blocks at most.
    fn look_for_free(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        among: core::ops::Range<BlockId>,
        bare: Option<usize>,
    ) -> Found {
        let mut state = self.lock(host);
        if !state.is_online() {
            return Found::LookAbove(among.end);
        }
        let end = among.end.min(among.start.plus(LOOK_AT));
        for block in BlockId::each(among.start..end) {
            debug_assert!(self.opened(&state).contains(&block), "in its zone");
            let counts = blocks.counts(block);
            if counts.free == 0 || counts.free == blocks.frames || blocks.is_reserved(block) {
                continue;
            }
            let mut batch = FrameBatch::default();
            let mut taken = FrameMask::default();
            for frame in blocks.ready(block).iter().take(FrameBatch::CAPACITY) {
                taken.insert(frame);
                batch.push(blocks.frame(block, frame));
            }
            let run = blocks
                .free(block)
                .without(blocks.committed(block))
                .runs()
                .next();
            let run = run.zip(bare).filter(|_| batch.is_empty());
            let run = run.map(|((start, len), most)| (start, len.min(most)));
            if let Some((start, len)) = run {
                taken = FrameMask::range(start, len);
            }
            if taken.is_empty() {
                continue;
            }
            state.change(blocks, block, |free, committed| {
                (free.without(taken), committed)
            });
            return match run {
                Some((start, len)) => Found::Bare(FrameRun { block, start, len }),
                None => Found::Ready(batch),
            };
        }
        Found::LookAbove(end)
    }
}
