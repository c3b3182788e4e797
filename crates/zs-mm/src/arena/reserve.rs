//! Pageblocks that are kept from everybody, and frames that are taken by their place.
//!
//! Data model: `Arena -> Reserved (blocks with FLAG_RESERVED, caches off) -> take -> frames of type
//! block`.
//!
//! A frame is free in three kinds of places: a zone's bitmap, a cache, the hands of a thread on its
//! way between the two. Who wants a certain frame must find it in the bitmap. So while any block is
//! reserved no cache keeps anything, and what is on its way comes to the zone shortly.
//!
//! # Locking
//!
//! One hold of the zone's lock for each block; none while memory is committed.

use crate::arena::{Arena, ONE_IN_USE};
use crate::backing::Backing;
use crate::error::Error;
use crate::frame::descriptor::{Descriptor, FrameType};
use crate::frame::mask::FrameMask;
use crate::size::wide;
use crate::zone::block::{BlockId, Blocks, FLAG_RESERVED};
use crate::zone::{FrameRun, Zone};
use core::ops::Range;
use zs_sync::{AtomicU32, Host, Ordering};

/// No frame is in a cache while this lives: what would go there goes to its zone.
#[derive(Debug)]
pub(crate) struct CachesOff<'a>(&'a AtomicU32);

/// Opened blocks of one zone that are kept from everybody else while this lives: nothing of them is
/// handed out, committed or given back, and what is freed into them stays there.
#[derive(Debug)]
pub(crate) struct Reserved<'a, B: Backing> {
    arena: &'a Arena<B>,
    blocks: Range<BlockId>,
    _caches: CachesOff<'a>,
}

impl<B: Backing> Arena<B> {
    /// Switches the caches off, and empties them.
    pub(crate) fn caches_off(&self) -> CachesOff<'_> {
        // Relaxed: see `FrameCache`.
        self.caches_off.fetch_add(1, Ordering::Relaxed);
        let off = CachesOff(&self.caches_off);
        self.drain_caches();
        off
    }

    /// Reserves opened blocks of one zone; the first of them that somebody else has reserved is the
    /// error.
    pub(crate) fn reserve_blocks(
        &self,
        blocks: Range<BlockId>,
    ) -> Result<Reserved<'_, B>, BlockId> {
        let mut reserved = Reserved {
            arena: self,
            blocks: blocks.start..blocks.start,
            _caches: self.caches_off(),
        };
        let zone = self.zone_of(blocks.start);
        for block in BlockId::each(blocks) {
            if !zone.reserve(self.host, &self.blocks, block) {
                return Err(block);
            }
            reserved.blocks.end = block.above();
        }
        Ok(reserved)
    }
}

impl<B: Backing> Reserved<'_, B> {
    /// Takes frames of a reserved block, committed and of type block; `false`, and no change, if
    /// not all of them are free. Calls the backing.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if not all of them have memory and none is to be had; nothing has
    /// changed.
    pub(crate) fn take(&self, run: FrameRun) -> Result<bool, Error> {
        debug_assert!(self.blocks.contains(&run.block), "a reserved block");
        let arena = self.arena;
        let zone = arena.zone_of(run.block);
        let wanted = FrameMask::range(run.start, run.len);
        let group = arena.frames_per_granule();
        let taken = zone.take_free(arena.host, &arena.blocks, run.block, wanted, group);
        let Some(bare) = taken else {
            return Ok(false);
        };
        let (kept, outcome) = match self.commit(run.block, bare) {
            Ok(()) => (wanted, Ok(true)),
            Err(gone) => (gone, Err(Error::NoMemory)),
        };
        let left = wanted.or(bare).without(kept);
        zone.put_free(arena.host, &arena.blocks, run.block, left);
        if outcome.is_ok() {
            self.mark_taken(run);
            if arena.options.huge_blocks {
                arena.advise_if_full(run.block);
            }
        }
        outcome
    }

    /// Writes into the descriptors that frames which were just taken are of type block, and counts
    /// them.
    fn mark_taken(&self, run: FrameRun) {
        let arena = self.arena;
        for frame in run.frames(&arena.blocks) {
            // Relaxed: whoever frees and whoever takes a frame are ordered by the zone's lock.
            let block = Descriptor::unowned(FrameType::Block);
            let before = arena.descriptor(frame).fetch_or(block.0, Ordering::Relaxed);
            debug_assert_eq!(
                Descriptor(before).at_rest(),
                Descriptor::FREE,
                "a frame that was taken was free"
            );
        }
        // Relaxed: see `usage`.
        let taken = wide(run.len) * ONE_IN_USE;
        arena.usage.fetch_add(taken, Ordering::Relaxed);
    }

    /// Charges and commits frames that were taken out of the zone. If that fails, those that are
    /// free again already are the error; the others may have memory or not.
    fn commit(&self, block: BlockId, bare: FrameMask) -> Result<(), FrameMask> {
        let arena = self.arena;
        let page = wide(arena.options.page_size.bytes());
        if arena.charge(wide(bare.count()) * page).is_err() {
            return Err(FrameMask::default());
        }
        // From here on the frames carry the charge.
        let mut left = bare;
        for (start, len) in bare.runs() {
            let frames = FrameMask::range(start, len);
            left = left.without(frames);
            if arena.commit_frames(FrameRun { block, start, len }).is_err() {
                arena.budget.refund(wide(left.count()) * page);
                return Err(frames);
            }
        }
        Ok(())
    }
}

impl Zone {
    /// Reserves an opened block; `false` if it is reserved already, or not open.
    fn reserve(&self, host: &dyn Host, blocks: &Blocks, block: BlockId) -> bool {
        let mut state = self.lock(host);
        let can = state.is_online() && self.opened(&state).contains(&block);
        let can = can && !blocks.is_reserved(block);
        if can {
            state.change_counts(blocks, block, || {
                blocks.change_flags(block, FLAG_RESERVED, 0);
            });
        }
        can
    }

    /// Ends a reservation: what is free in the block can be had again.
    fn end_reserve(&self, host: &dyn Host, blocks: &Blocks, block: BlockId) {
        self.lock(host).change_counts(blocks, block, || {
            blocks.change_flags(block, 0, FLAG_RESERVED);
        });
    }

    /// Takes the frames in `wanted` if all are free and the zone is online, and with them those
    /// that share a granule without memory. Returns the ones that have none.
    fn take_free(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        block: BlockId,
        wanted: FrameMask,
        group: usize,
    ) -> Option<FrameMask> {
        let mut state = self.lock(host);
        let (free, committed) = (blocks.free(block), blocks.committed(block));
        // Commit and decommit work on whole groups, so what is free without memory is so in groups.
        let bare = wanted.without(committed).with_whole_groups(group);
        let taken = wanted.or(bare);
        if free.and(taken) != taken || !state.is_online() {
            return None;
        }
        state.change(blocks, block, |free, committed| {
            (free.without(taken), committed)
        });
        Some(bare)
    }

    /// Makes committed frames of a block free.
    pub(crate) fn put_free(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        block: BlockId,
        frames: FrameMask,
    ) {
        self.lock(host).change(blocks, block, |free, committed| {
            (free.or(frames), committed)
        });
    }
}

impl Drop for CachesOff<'_> {
    fn drop(&mut self) {
        // Relaxed: see `FrameCache`.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B: Backing> Drop for Reserved<'_, B> {
    fn drop(&mut self) {
        let arena = self.arena;
        for block in BlockId::each(self.blocks.clone()) {
            arena
                .zone_of(block)
                .end_reserve(arena.host, &arena.blocks, block);
        }
    }
}
