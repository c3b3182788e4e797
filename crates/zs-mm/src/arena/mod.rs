//! The whole: made of parts, and who owns what.

pub(crate) mod arena_ref;
pub(crate) mod block_state;
pub(crate) mod claims;
pub(crate) mod frames;
pub(crate) mod give_back;
pub(crate) mod limit;
pub(crate) mod move_counters;
pub(crate) mod moves;
pub(crate) mod opened_pages;
pub(crate) mod paged;
pub(crate) mod pause;
pub(crate) mod reserve;
pub(crate) mod stats;
pub(crate) mod tables;
pub(crate) mod zones;

use crate::arena::move_counters::MoveCounters;
use crate::arena::moves::Moves;
use crate::backing::{Backing, RegionKind};
use crate::error::{Error, InvalidArena};
use crate::frame::cache::{FrameBatch, FrameCache};
use crate::frame::descriptor::Descriptor;
use crate::meta::budget::Budget;
use crate::meta::table::MetaTable;
use crate::options::ArenaOptions;
use crate::size::{BLOCK_BYTES, FrameId, MAX_ZONES, POOL_WORDS, ZoneId, wide};
use crate::zone::block::{BlockId, Blocks};
use crate::zone::{FrameRun, Zone};
use crate::zone_spec::{ZoneKind, ZoneSpecs};
use core::ptr::NonNull;
use zs_sync::{AtomicU32, AtomicU64, Host, Ordering, Payload, StaticCounter};

/// One frame of each half of [`Arena::usage`].
pub(crate) const ONE_IN_USE: u64 = 1;
pub(crate) const ONE_COMMITTED: u64 = 1 << 32;

/// Frame caches; CPUs share them by number.
const CACHES: usize = if cfg!(zs_loom) { 1 } else { 8 };

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
    /// The end of the frames that pass through caches: see `is_cached`.
    cached_end: FrameId,
    /// One bit for each pool id in use.
    pub(crate) pools: [AtomicU64; POOL_WORDS],
    /// Frames: committed in the upper half, in use in the lower. One word, so that a reader sees
    /// both of one moment; it publishes nothing, so every access is relaxed.
    pub(crate) usage: AtomicU64,
    /// Frames in balloons without memory: charged, neither in use nor committed. Relaxed, as
    /// `usage`.
    pub(crate) ballooned: AtomicU64,
    /// Different for each arena of the process: frames, tables, charges and keys know theirs.
    pub(crate) id: u32,
    pub(crate) moves: Moves,
    pub(crate) move_counters: MoveCounters,
    /// Frames that are out of use for good.
    pub(crate) offline: AtomicU64,
    /// How many want no frame to be in a cache: see
    /// [`CachesOff`](crate::arena::reserve::CachesOff).
    pub(crate) caches_off: AtomicU32,
    /// The backing's [`process`](Backing::process) when the arena was made.
    process: u64,
    payload: Payload,
    place: NonNull<u8>,
    reserved: usize,
}

// SAFETY: `place` is the address of a region that is tied to no thread; everything else is `Send`.
unsafe impl<B: Backing> Send for Arena<B> {}
// SAFETY: the region behind `place` is only committed and decommitted, by ranges that a zone
// handed to one thread; everything else is `Sync`.
unsafe impl<B: Backing> Sync for Arena<B> {}

/// Returns a number for an arena; the same only after 2^32 of them.
fn next_id() -> u32 {
    static ARENAS: StaticCounter = StaticCounter::new(1);
    ARENAS.next()
}

/// Returns how many zones from the first on are like it.
fn first_tier(zones: &ZoneSpecs) -> usize {
    let specs = zones.specs();
    specs
        .iter()
        .take_while(|spec| spec.is_like(&specs[0]))
        .count()
}

/// Has each zone of a new payload region made; releases the region if one cannot be.
fn place_zones(
    backing: &impl Backing,
    region: NonNull<u8>,
    reserved: usize,
    options: &ArenaOptions,
) -> Result<(), Error> {
    let block_bytes = options.page_size.block_bytes();
    let bound = |zone| options.zones.blocks_before(zone, reserved / block_bytes) * block_bytes;
    for (zone, &spec) in options.zones.specs().iter().enumerate() {
        let (start, len) = (bound(zone), bound(zone + 1) - bound(zone));
        // SAFETY: a zone's blocks lie in the region.
        let place = unsafe { region.add(start) };
        // SAFETY: whole blocks of a region that was just reserved; zones do not overlap.
        let placed = unsafe { backing.place_zone(place, len, spec.kind, spec.node) };
        if let Err(refusal) = placed {
            // SAFETY: the region was just reserved, and nobody has used it.
            unsafe { backing.release(RegionKind::Payload, region, reserved) };
            return Err(Error::Invalid(InvalidArena::Zone {
                zone,
                spec,
                refusal,
            }));
        }
    }
    Ok(())
}

impl<B: Backing> Arena<B> {
    /// Makes an arena. Nothing is committed yet but the arena's own structure is counted.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the options (or the backing's granule) are out of bounds, or the
    /// backing has no place for a zone, [`Error::NoMemory`] if the address space cannot be
    /// reserved.
    pub fn new(backing: B, host: &'static dyn Host, options: ArenaOptions) -> Result<Self, Error> {
        options.check(backing.granule()).map_err(Error::Invalid)?;
        let frames = options.page_size.frames_per_block();
        let block_bytes = options.page_size.block_bytes();
        let count = options.capacity().div_ceil(wide(block_bytes)) as usize;
        let budget = Budget::new(options.limit, options.capacity());
        let id = next_id();
        let records = MetaTable::reserve(&backing, id, Blocks::cells(count, frames))?;
        let descriptors = match MetaTable::reserve(&backing, id, count * frames) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                records.release(&backing, &budget);
                return Err(error);
            }
        };
        let reserved = count * block_bytes;
        let align = BLOCK_BYTES.max(backing.granule());
        let payload = backing.reserve(RegionKind::Payload, reserved, align);
        let place = match payload {
            Ok(place) => place_zones(&backing, place, reserved, &options).map(|()| place),
            Err(_) => Err(Error::NoMemory),
        };
        let place = match place {
            Ok(place) => place,
            Err(error) => {
                records.release(&backing, &budget);
                descriptors.release(&backing, &budget);
                return Err(error);
            }
        };
        let _ = budget.charge(wide(size_of::<Self>()));
        let bound = |zone: usize| BlockId::at(options.zones.blocks_before(zone, count));
        let now = host.now_ns();
        Ok(Self {
            budget,
            blocks: Blocks::new(records, frames),
            descriptors,
            zones: core::array::from_fn(|zone| Zone::new(bound(zone), bound(zone + 1), now)),
            cached_end: FrameId::at(bound(first_tier(&options.zones)).index() * frames),
            caches: core::array::from_fn(|_| {
                FrameCache::new(FrameBatch::capacity(options.page_size))
            }),
            pools: core::array::from_fn(|_| AtomicU64::new(0)),
            usage: AtomicU64::new(0),
            ballooned: AtomicU64::new(0),
            id,
            moves: Moves::default(),
            move_counters: MoveCounters::default(),
            offline: AtomicU64::new(0),
            caches_off: AtomicU32::new(0),
            process: backing.process(),
            // SAFETY: the region was just reserved, and stays so until the arena is dropped.
            payload: unsafe { Payload::from_reserved(place, reserved) },
            place,
            reserved,
            backing,
            host,
            options,
        })
    }

    /// Returns the options that the arena was made with; the limit may have been set anew since.
    pub fn options(&self) -> &ArenaOptions {
        &self.options
    }

    /// Returns the hooks that the arena was made with.
    #[inline]
    pub fn host(&self) -> &'static dyn Host {
        self.host
    }

    /// Returns the bytes of all frames; frame `n` starts at `n` times the frame size.
    #[inline]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns the backing that the arena was made with.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// Says whether this process is a forked child of the one that made the arena. There nothing
    /// may be allocated, freed, moved or given back, since locks may be held by threads that do not
    /// exist; pools refuse it. What the child may read, the backing says.
    #[inline]
    pub fn is_forked(&self) -> bool {
        self.backing.process() != self.process
    }

    /// Says whether this process sees the payload: always where the arena was made; in a forked
    /// child, if the backing says so.
    #[inline]
    pub fn may_read(&self) -> bool {
        self.backing.child_can_read() || !self.is_forked()
    }

    /// Returns the descriptor of a frame; a frame that was never used reads as free.
    pub fn frame_descriptor(&self, id: FrameId) -> Option<Descriptor> {
        let descriptor = self.descriptors.get(id.index())?;
        Some(Descriptor(descriptor.load(Ordering::Relaxed)))
    }

    pub(crate) fn cache(&self) -> &FrameCache {
        &self.caches[self.host.cpu() % CACHES]
    }

    pub(crate) fn descriptor(&self, id: FrameId) -> &AtomicU64 {
        self.descriptors.at(id.index())
    }

    /// Puts free committed frames into their zones.
    pub(crate) fn put(&self, batch: &FrameBatch) {
        for zone in &self.zones {
            if batch
                .frames()
                .iter()
                .any(|&frame| zone.contains(self.blocks.block_of(frame)))
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
        &self.zones[self.zone_id(block).index()]
    }

    #[expect(clippy::expect_used, reason = "blocks come from the arena's own zones")]
    pub(crate) fn zone_id(&self, block: BlockId) -> ZoneId {
        let owner = self.zones.iter().position(|zone| zone.contains(block));
        ZoneId::at(owner.expect("the zones cover every block"))
    }

    /// Returns a frame as a run of one.
    pub(crate) fn run_of(&self, frame: FrameId) -> FrameRun {
        FrameRun {
            block: self.blocks.block_of(frame),
            start: self.blocks.in_block(frame),
            len: 1,
        }
    }

    /// Says whether a frame passes through caches: those of the first zone do, and of the zones
    /// that follow and are like it. A frame of another tier would otherwise be handed out while
    /// better ones are free.
    pub(crate) fn is_cached(&self, frame: FrameId) -> bool {
        frame < self.cached_end
    }

    /// Says whether a zone is to have huge pages.
    pub(crate) fn is_huge(&self, zone: ZoneId) -> bool {
        self.options.zones.specs()[zone.index()].kind == ZoneKind::Huge
    }

    /// Returns the number of frames that are committed at a time, and given back at a time by the
    /// way.
    pub(crate) fn frames_per_run(&self) -> usize {
        FrameBatch::capacity(self.options.page_size).max(self.frames_per_granule())
    }

    /// Returns the number of frames that are committed and decommitted together.
    pub(crate) fn frames_per_granule(&self) -> usize {
        (self.backing.granule() >> self.options.page_size.shift()).max(1)
    }

    /// Returns the memory of a run of frames.
    pub(crate) fn place_of(&self, run: FrameRun) -> (NonNull<u8>, usize) {
        let shift = self.options.page_size.shift();
        let offset = self.blocks.frame(run.block, run.start).index() << shift;
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
