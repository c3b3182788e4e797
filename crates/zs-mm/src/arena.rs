//! The whole: allocate, free, account.

use crate::backing::{Backing, RegionKind};
use crate::block::{BlockId, Blocks};
use crate::budget::{Budget, Charge};
use crate::cache::{FrameBatch, FrameCache};
use crate::descriptor::{Descriptor, FrameOwner, PoolId};
use crate::error::{Error, InvalidArena};
use crate::meta::MetaTable;
use crate::size::{BLOCK_BYTES, FrameId, MAX_ARENA_BYTES, PageSize};
use crate::zone::{CommitPlan, FrameRun, Zone};
use core::ptr::NonNull;
use zs_sync::{AtomicU64, Host, Ordering, Payload, TableCell, assert_may_block};

/// The most zones that an arena can have.
pub const MAX_ZONES: usize = 4;

/// The most pools that an arena carries at a time.
pub const MAX_POOLS: usize = POOL_WORDS * 64;
const POOL_WORDS: usize = if cfg!(zs_loom) { 1 } else { 16 };

/// Frame caches; CPUs share them by number.
const CACHES: usize = if cfg!(zs_loom) { 1 } else { 8 };

/// What an arena is to be. Start from [`ArenaOptions::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaOptions {
    /// The size of a frame, and of the largest object. Default: 4 KiB.
    pub page_size: PageSize,
    /// The most bytes that may be held, frames and metadata together: one pageblock (2 MiB) to
    /// 1 TiB. A hard limit, up to what the backing itself keeps beside them.
    pub limit: u64,
    /// Zones, each with a share of the pageblocks and a lock of its own; filled in order. Default 1.
    pub zones: u32,
    /// Free memory that nobody needed for so long, in nanoseconds, goes back to the system, at the
    /// next call that takes frames from a zone or puts them back, or calls
    /// [`decay`](Arena::decay). Default: 1 s.
    pub decay_ns: u64,
    /// Ask for a huge page under every pageblock whose frames are all handed out (in use, or in the
    /// cache of a CPU). Default: no.
    pub huge_blocks: bool,
}

impl ArenaOptions {
    /// An arena of 4 KiB frames that holds at most `limit` bytes.
    pub const fn new(limit: u64) -> Self {
        Self {
            page_size: PageSize::K4,
            limit,
            zones: 1,
            decay_ns: 1_000_000_000,
            huge_blocks: false,
        }
    }

    fn check(&self, granule: usize) -> Result<(), InvalidArena> {
        let block_bytes = self.page_size.block_bytes() as u64;
        if self.limit < block_bytes {
            return Err(InvalidArena::LimitTooSmall(self.limit));
        }
        if self.limit > MAX_ARENA_BYTES {
            return Err(InvalidArena::LimitTooLarge(self.limit));
        }
        if self.zones == 0
            || self.zones as usize > MAX_ZONES
            || u64::from(self.zones) > self.limit.div_ceil(block_bytes)
        {
            return Err(InvalidArena::Zones(self.zones));
        }
        if !granule.is_power_of_two() || granule > BLOCK_BYTES {
            return Err(InvalidArena::Granule(granule));
        }
        Ok(())
    }
}

/// A frame that its holder must attach or give back.
///
/// Not `Copy`: a frame cannot be freed twice by accident.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped is lost until its arena goes"]
pub struct Frame(FrameId);

impl Frame {
    /// The frame's number.
    pub fn id(&self) -> FrameId {
        self.0
    }
}

/// Page frames, and the tables that describe them, under one hard limit.
///
/// Shared by reference between threads; every method may be called from all of them at once.
#[derive(Debug)]
pub struct Arena<B: Backing> {
    pub(crate) backing: B,
    pub(crate) host: &'static dyn Host,
    pub(crate) options: ArenaOptions,
    pub(crate) budget: Budget,
    pub(crate) blocks: Blocks,
    pub(crate) descriptors: MetaTable<AtomicU64>,
    pub(crate) zones: [Zone; MAX_ZONES],
    pub(crate) caches: [FrameCache; CACHES],
    /// One bit for each pool id in use.
    pools: [AtomicU64; POOL_WORDS],
    payload: Payload,
    place: NonNull<u8>,
    reserved: usize,
}

// SAFETY: `place` is the address of a region that is tied to no thread; everything else is `Send`.
unsafe impl<B: Backing> Send for Arena<B> {}
// SAFETY: the region behind `place` is only committed and decommitted, by ranges that a zone
// handed to one thread; everything else is `Sync`.
unsafe impl<B: Backing> Sync for Arena<B> {}

impl<B: Backing> Arena<B> {
    /// Makes an arena. Nothing is committed yet but the arena's own structure is counted.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the options (or the backing's granule) are out of bounds,
    /// [`Error::NoMemory`] if the address space cannot be reserved.
    pub fn new(backing: B, host: &'static dyn Host, options: ArenaOptions) -> Result<Self, Error> {
        options.check(backing.granule()).map_err(Error::Invalid)?;
        let frames = options.page_size.frames_per_block();
        let block_bytes = options.page_size.block_bytes();
        let count = options.limit.div_ceil(block_bytes as u64) as usize;
        let budget = Budget::new(options.limit);
        let records = MetaTable::reserve(&backing, Blocks::cells(count, frames))?;
        let descriptors = match MetaTable::reserve(&backing, count * frames) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                records.release(&backing, &budget);
                return Err(error);
            }
        };
        let reserved = count * block_bytes;
        let align = BLOCK_BYTES.max(backing.granule());
        let Ok(place) = backing.reserve(RegionKind::Payload, reserved, align) else {
            records.release(&backing, &budget);
            descriptors.release(&backing, &budget);
            return Err(Error::NoMemory);
        };
        let _ = budget.charge(size_of::<Self>() as u64);
        let per_zone = count.div_ceil(options.zones as usize);
        let now = host.now_ns();
        Ok(Self {
            budget,
            blocks: Blocks::new(records, frames),
            descriptors,
            zones: core::array::from_fn(|zone| {
                let bound = |zone: usize| (zone * per_zone).min(count) as BlockId;
                Zone::new(bound(zone), bound(zone + 1), now)
            }),
            caches: core::array::from_fn(|_| {
                FrameCache::new(FrameBatch::capacity(options.page_size))
            }),
            pools: core::array::from_fn(|_| AtomicU64::new(0)),
            // SAFETY: the region was just reserved, and stays so until the arena is dropped.
            payload: unsafe { Payload::from_reserved(place, reserved) },
            place,
            reserved,
            backing,
            host,
            options,
        })
    }

    /// The options that the arena was made with.
    pub fn options(&self) -> &ArenaOptions {
        &self.options
    }

    /// The hooks that the arena was made with.
    #[inline]
    pub fn host(&self) -> &'static dyn Host {
        self.host
    }

    /// The bytes of all frames; frame `n` starts at `n` times the frame size.
    #[inline]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The backing that the arena was made with.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// Gives a pool its id in this arena, the lowest that is free.
    ///
    /// # Errors
    /// [`Error::TooManyPools`] beyond [`MAX_POOLS`].
    pub fn join(&self) -> Result<PoolId, Error> {
        for (word, ids) in self.pools.iter().enumerate() {
            // Relaxed, here and in `leave`: an id is only a number, nothing is published with it.
            let taken = ids.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ids| {
                (ids != u64::MAX).then(|| ids | (ids + 1))
            });
            if let Ok(ids) = taken {
                return Ok(PoolId((word * 64) as u16 + ids.trailing_ones() as u16));
            }
        }
        Err(Error::TooManyPools)
    }

    /// Takes a pool's id back; the pool owns no frame any more.
    pub fn leave(&self, pool: PoolId) {
        let (word, bit) = (pool.0 as usize / 64, pool.0 % 64);
        self.pools[word].fetch_and(!(1 << bit), Ordering::Relaxed);
    }

    /// Allocates a frame of committed memory, with whatever bytes it held last.
    ///
    /// From this CPU's cache in the common case; else from a zone, or by committing a run of
    /// frames. May call the backing.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached or the backing refuses, and no cache or zone has
    /// a free frame left. (Frames that other threads are just committing or giving back, a run of
    /// 128 KiB or 4 frames each, count as gone.)
    pub fn alloc_frame(&self) -> Result<Frame, Error> {
        let frame = match self.cache().pop(self.host) {
            Some(frame) => frame,
            None => self.alloc_slow()?,
        };
        // Relaxed: whoever frees and whoever allocates a frame are ordered by cache or zone lock.
        let before = self
            .descriptor(FrameId(frame))
            .swap(Descriptor::UNOWNED.0, Ordering::Relaxed);
        debug_assert_eq!(before, Descriptor::FREE.0, "an allocated frame was free");
        Ok(Frame(FrameId(frame)))
    }

    /// Gives a frame back. It stays committed, in a cache or zone, until trim or decay.
    pub fn free_frame(&self, frame: Frame) {
        // Relaxed: see `alloc_frame`.
        let before = self
            .descriptor(frame.0)
            .swap(Descriptor::FREE.0, Ordering::Relaxed);
        debug_assert_eq!(before, Descriptor::UNOWNED.0, "a freed frame has no owner");
        let overflow = self.cache().push(self.host, frame.0.0);
        if !overflow.is_empty() {
            self.put(&overflow);
            self.decay();
        }
    }

    /// Makes `owner` the owner of a frame, and returns the frame's number.
    pub fn assign(&self, frame: Frame, owner: FrameOwner) -> FrameId {
        // Relaxed: the frame entry that names the frame is what publishes it.
        let before = self
            .descriptor(frame.0)
            .swap(Descriptor::owned(owner).0, Ordering::Relaxed);
        debug_assert_eq!(
            before,
            Descriptor::UNOWNED.0,
            "an assigned frame has no owner"
        );
        frame.0
    }

    /// Takes a frame back from `owner`; `None`, and no change, if it is not the owner's.
    pub fn reclaim(&self, id: FrameId, owner: FrameOwner) -> Option<Frame> {
        let descriptor = self.descriptors.get(id.index())?;
        let owned = Descriptor::owned(owner).0;
        // A stale id may lead to a descriptor without memory: read it before trying to write, as
        // even an exchange that fails takes a page.
        // Relaxed: the detach that found the frame is ordered by the owner's own locks.
        if descriptor.load(Ordering::Relaxed) != owned {
            return None;
        }
        descriptor
            .compare_exchange(
                owned,
                Descriptor::UNOWNED.0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .ok()
            .map(|_| Frame(id))
    }

    /// The descriptor of a frame; a frame that was never used reads as free.
    pub fn frame_descriptor(&self, id: FrameId) -> Option<Descriptor> {
        let descriptor = self.descriptors.get(id.index())?;
        Some(Descriptor(descriptor.load(Ordering::Relaxed)))
    }

    /// Reserves a table of `len` cells, nothing of it committed.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the address space cannot be reserved.
    pub fn reserve_table<T: TableCell>(&self, len: usize) -> Result<MetaTable<T>, Error> {
        MetaTable::reserve(&self.backing, len)
    }

    /// Commits a table of this arena up to and with the cell at `index`. May call the backing, and
    /// gives cached frames back first if the limit asks for it.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached or the backing refuses.
    ///
    /// # Panics
    /// If `index` is beyond the end of the table.
    pub fn ensure<T: TableCell>(&self, table: &MetaTable<T>, index: usize) -> Result<(), Error> {
        assert_may_block();
        assert!(index < table.len(), "table index out of range");
        table
            .ensure(&self.backing, &self.budget, index)
            .or_else(|_| {
                self.trim();
                table.ensure(&self.backing, &self.budget, index)
            })
    }

    /// Releases a table of this arena.
    pub fn release_table<T: TableCell>(&self, table: MetaTable<T>) {
        table.release(&self.backing, &self.budget);
    }

    /// Counts `bytes` that lie outside the arena against its limit.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached.
    pub fn charge(&self, bytes: u64) -> Result<Charge, Error> {
        if !self.budget.charge(bytes) {
            self.trim();
            if !self.budget.charge(bytes) {
                return Err(Error::NoMemory);
            }
        }
        Ok(Charge(bytes))
    }

    /// Takes a charge back.
    pub fn uncharge(&self, charge: Charge) {
        self.budget.refund(charge.0);
    }

    fn cache(&self) -> &FrameCache {
        &self.caches[self.host.cpu() % CACHES]
    }

    fn descriptor(&self, id: FrameId) -> &AtomicU64 {
        self.descriptors.at(id.index())
    }

    #[cold]
    fn alloc_slow(&self) -> Result<u32, Error> {
        assert_may_block();
        self.decay();
        if let Some(frame) = self.take_ready(FrameBatch::capacity(self.options.page_size) / 2) {
            return Ok(frame);
        }
        let error = match self.commit_run() {
            Ok(frame) => return Ok(frame),
            Err(error) => error,
        };
        // Frames may lie in other CPUs' caches.
        self.drain_caches();
        self.take_ready(1).ok_or(error)
    }

    /// Takes free committed frames from the first zone that has any; all but one go to the cache.
    fn take_ready(&self, want: usize) -> Option<u32> {
        self.zones.iter().find_map(|zone| {
            let batch = zone.take_ready(self.host, &self.blocks, want);
            self.keep_one(batch)
        })
    }

    /// Commits a run of frames; all but one go to the cache.
    fn commit_run(&self) -> Result<u32, Error> {
        let run = self.charge_run(self.plan_run()?)?;
        self.commit_frames(run)?;
        let first = run.block as usize * self.blocks.frames + run.start;
        let mut rest = FrameBatch::default();
        for frame in first..first + run.len {
            if rest.len() == FrameBatch::CAPACITY {
                // A granule of many frames: they go to the zone, the last handful to the caller.
                self.put(&core::mem::take(&mut rest));
            }
            rest.push(frame as u32);
        }
        // Never from the zone again: another thread may have emptied it meanwhile.
        self.keep_one(rest).ok_or(Error::NoMemory)
    }

    /// Takes neighbouring frames without memory from the first zone that has any.
    fn plan_run(&self) -> Result<FrameRun, Error> {
        let group = self.frames_per_granule();
        let want = FrameBatch::capacity(self.options.page_size).max(group);
        for zone in &self.zones {
            loop {
                match zone.plan_commit(self.host, &self.blocks, want, group) {
                    CommitPlan::Run(run) => return Ok(run),
                    CommitPlan::Exhausted => break,
                    CommitPlan::NeedsBlock(block) => {
                        let last_frame = (block as usize + 1) * self.blocks.frames - 1;
                        let (backing, budget) = (&self.backing, &self.budget);
                        self.descriptors.ensure(backing, budget, last_frame)?;
                        let last_cell = self.blocks.last_cell(block);
                        self.blocks.table().ensure(backing, budget, last_cell)?;
                        zone.open_block(self.host, &self.blocks, block);
                    }
                }
            }
        }
        Err(Error::NoMemory)
    }

    /// Charges as much of a run as the limit allows; the rest of it is free again.
    fn charge_run(&self, run: FrameRun) -> Result<FrameRun, Error> {
        let page = self.options.page_size.bytes() as u64;
        let unit = page.max(self.backing.granule() as u64);
        let charged = self.budget.charge_up_to(run.len as u64 * page, unit);
        let len = (charged / page) as usize;
        if len < run.len {
            let rest = FrameRun {
                start: run.start + len,
                len: run.len - len,
                ..run
            };
            self.zone_of(run.block)
                .finish_commit(self.host, &self.blocks, rest, false);
        }
        if len == 0 {
            return Err(Error::NoMemory);
        }
        Ok(FrameRun { len, ..run })
    }

    /// Commits a run whose charge is taken; gives charge and frames back if that fails.
    fn commit_frames(&self, run: FrameRun) -> Result<(), Error> {
        let (place, len) = self.place_of(run);
        // SAFETY: the run consists of whole granules of the payload region, and `plan_run` took
        // its frames out of the zone, so that no other thread commits or decommits them.
        let outcome = unsafe { self.backing.commit(RegionKind::Payload, place, len) };
        if outcome.is_err() {
            self.budget.refund(len as u64);
        }
        self.zone_of(run.block)
            .finish_commit(self.host, &self.blocks, run, outcome.is_ok());
        outcome.map_err(|_| Error::NoMemory)
    }

    fn keep_one(&self, mut batch: FrameBatch) -> Option<u32> {
        let frame = batch.pop()?;
        self.cache().fill(self.host, &mut batch);
        if !batch.is_empty() {
            self.put(&batch);
        }
        if self.options.huge_blocks {
            self.advise_if_full((frame as usize / self.blocks.frames) as BlockId);
        }
        Some(frame)
    }

    /// Puts free committed frames into their zones.
    pub(crate) fn put(&self, batch: &FrameBatch) {
        for zone in &self.zones {
            if batch
                .frames()
                .iter()
                .any(|&frame| zone.contains((frame as usize / self.blocks.frames) as BlockId))
            {
                zone.put(self.host, &self.blocks, batch);
            }
        }
    }

    pub(crate) fn drain_caches(&self) {
        for cache in &self.caches {
            self.put(&cache.drain(self.host));
        }
    }

    pub(crate) fn zone_of(&self, block: BlockId) -> &Zone {
        let owner = self.zones.iter().find(|zone| zone.contains(block));
        owner.unwrap_or(&self.zones[0])
    }

    /// Frames that are committed and decommitted together.
    pub(crate) fn frames_per_granule(&self) -> usize {
        (self.backing.granule() >> self.options.page_size.shift()).max(1)
    }

    /// The memory of a run of frames.
    pub(crate) fn place_of(&self, run: FrameRun) -> (NonNull<u8>, usize) {
        let shift = self.options.page_size.shift();
        let offset = (run.block as usize * self.blocks.frames + run.start) << shift;
        let len = run.len << shift;
        debug_assert!(offset + len <= self.reserved);
        // SAFETY: a run lies in a block of the arena, so the offset is within the region.
        (unsafe { self.place.add(offset) }, len)
    }
}

impl<B: Backing> Drop for Arena<B> {
    fn drop(&mut self) {
        let records = self.blocks.take_table();
        records.release(&self.backing, &self.budget);
        core::mem::take(&mut self.descriptors).release(&self.backing, &self.budget);
        // SAFETY: the region came from `reserve` with this kind and length; `&mut self` says that
        // nobody uses a frame any more.
        unsafe {
            self.backing
                .release(RegionKind::Payload, self.place, self.reserved);
        };
    }
}

/// How a pool holds its arena: its own, by reference, or (with `alloc`) by `Arc`.
///
/// Sealed: a pool relies on it that every call gives the same arena.
pub trait ArenaRef: sealed::Sealed {
    /// The arena's backing.
    type Backing: Backing;

    /// The arena.
    fn arena(&self) -> &Arena<Self::Backing>;
}

mod sealed {
    pub trait Sealed {}
    impl<B: super::Backing> Sealed for super::Arena<B> {}
    impl<B: super::Backing> Sealed for &super::Arena<B> {}
    #[cfg(feature = "alloc")]
    impl<B: super::Backing> Sealed for alloc::sync::Arc<super::Arena<B>> {}
}

impl<B: Backing> ArenaRef for Arena<B> {
    type Backing = B;

    #[inline]
    fn arena(&self) -> &Self {
        self
    }
}

impl<B: Backing> ArenaRef for &Arena<B> {
    type Backing = B;

    #[inline]
    fn arena(&self) -> &Arena<B> {
        self
    }
}

#[cfg(feature = "alloc")]
impl<B: Backing> ArenaRef for alloc::sync::Arc<Arena<B>> {
    type Backing = B;

    #[inline]
    fn arena(&self) -> &Arena<B> {
        self
    }
}
