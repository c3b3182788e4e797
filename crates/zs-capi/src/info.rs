//! Statistics.

use crate::arena::{ARENAS, own, zs_arena};
use crate::border::answer;
use crate::pool::{POOLS, find, zs_pool_t};
use crate::result::{corrupt, invalid, zs_result};
use crate::versioned::{Answer, Versioned};
use core::mem::size_of;
use core::sync::atomic::Ordering;
use zsmalloc::{CLASSES, ClassIndex, FULLNESS_GROUPS};

/// The contents of an arena, in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_arena_info {
    /// Bytes of this struct that the library wrote: a field beyond them is unknown to it.
    pub size: u64,
    /// The hard limit.
    pub limit: u64,
    /// Everything counted against the limit: page frames and metadata. Never above it.
    pub held: u64,
    /// The most that `held` has been.
    pub peak: u64,
    /// Page frames that pools have.
    pub in_use: u64,
    /// Page frames that are free: what a trim would give back.
    pub cached: u64,
    /// The arena's own metadata; that of its pools comes on top.
    pub metadata: u64,
    /// Bytes of a page frame.
    pub page_size: u64,
}

// SAFETY: eight numbers without padding; all of them were in the first version.
unsafe impl Versioned for zs_arena_info {
    const FIRST_SIZE: usize = 64;
    const NAME: &str = "zs_arena_info";
}
const _: () = assert!(size_of::<zs_arena_info>() == 64);

/// The contents of a pool.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_pool_info {
    /// Bytes of this struct that the library wrote: a field beyond them is unknown to it.
    pub size: u64,
    /// Live objects, freed ones with an open view included.
    pub objects: u64,
    /// Bytes of those objects.
    pub payload_bytes: u64,
    /// Places for objects in the page frames that the pool has.
    pub slots: u64,
    /// Page frames that the pool has.
    pub frames: u64,
    /// Bytes of those page frames.
    pub frame_bytes: u64,
    /// Bytes of the pool's tables and of its own structure.
    pub metadata_bytes: u64,
    /// Page frames that compactions have freed since the pool was made.
    pub frames_compacted: u64,
    /// Objects of this many bytes and fewer share page frames; a longer one takes a frame alone.
    pub largest_shared: u64,
    /// Size classes: `zs_pool_get_class_info()` takes numbers below this.
    pub classes: u64,
    /// A freed handle is refused until its place in the table was used again 2 to this power
    /// times.
    pub generation_bits: u64,
}

// SAFETY: eleven numbers without padding; all of them were in the first version.
unsafe impl Versioned for zs_pool_info {
    const FIRST_SIZE: usize = 88;
    const NAME: &str = "zs_pool_info";
}
const _: () = assert!(size_of::<zs_pool_info>() == 88);

/// Groups of zspages in `zs_class_info`.
pub const ZS_FULLNESS_GROUPS: usize = 12;
const _: () = assert!(ZS_FULLNESS_GROUPS == FULLNESS_GROUPS);

/// The contents of one size class of a pool.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_class_info {
    /// Bytes of this struct that the library wrote: a field beyond them is unknown to it.
    pub size: u64,
    /// The longest object of the class.
    pub object_size: u64,
    /// Page frames of a whole zspage.
    pub chain: u64,
    /// Objects of a whole zspage.
    pub slots_per_zspage: u64,
    /// Zspages.
    pub zspages: u64,
    /// Page frames.
    pub frames: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of those objects.
    pub payload_bytes: u64,
    /// Places for objects in those page frames.
    pub slots: u64,
    /// Zspages by the share of their places in use: 0 %, below 10 %, ... below 100 %, 100 %.
    pub groups: [u64; ZS_FULLNESS_GROUPS],
}

// SAFETY: 21 numbers without padding; all of them were in the first version.
unsafe impl Versioned for zs_class_info {
    const FIRST_SIZE: usize = 168;
    const NAME: &str = "zs_class_info";
}
const _: () = assert!(size_of::<zs_class_info>() == 168);

/// Tells the contents of an arena: `size` is `sizeof *info`. Takes no lock.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_INVALID`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions: see `docs/c.md`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_arena_get_info(
    arena: *mut zs_arena,
    info: *mut zs_arena_info,
    size: usize,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let arena = &unsafe { ARENAS.get(arena) }?.arena;
        // SAFETY: by this function's contract.
        let place = unsafe { Answer::new(info, size) }?;
        own(arena)?;
        let stats = arena.stats();
        place.fill(zs_arena_info {
            size: place.known(),
            limit: stats.limit,
            held: stats.held,
            peak: stats.peak,
            in_use: stats.in_use,
            cached: stats.cached,
            metadata: stats.metadata,
            page_size: arena.options().page_size.bytes() as u64,
        });
        Ok(())
    })
}

/// What a pool holds: `size` is `sizeof *info`. Takes 128 short locks, one after the other, so that
/// the classes are of slightly different moments while others are at work.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_INVALID`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_get_info(
    pool: *mut zs_pool_t,
    info: *mut zs_pool_info,
    size: usize,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let entry = unsafe { POOLS.get(pool) }?;
        // SAFETY: by this function's contract.
        let place = unsafe { Answer::new(info, size) }?;
        let pool = &entry.pool;
        own(pool.arena())?;
        let stats = pool.stats();
        place.fill(zs_pool_info {
            size: place.known(),
            objects: stats.objects,
            payload_bytes: stats.payload_bytes,
            slots: stats.slots,
            frames: stats.frames,
            frame_bytes: stats.frame_bytes,
            metadata_bytes: stats.metadata.total(),
            // Relaxed: a counter.
            frames_compacted: entry.frames_compacted.load(Ordering::Relaxed),
            largest_shared: pool.geometry().huge_threshold() as u64,
            classes: CLASSES as u64,
            generation_bits: u64::from(pool.layout().generation_bits()),
        });
        Ok(())
    })
}

/// What one size class holds, the smallest being number 0: `size` is `sizeof *info`. Takes one
/// short lock.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_INVALID` (also for a number that is too high), `ZS_FORKED`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_get_class_info(
    pool: *mut zs_pool_t,
    number: usize,
    info: *mut zs_class_info,
    size: usize,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        // SAFETY: by this function's contract.
        let place = unsafe { Answer::new(info, size) }?;
        own(pool.arena())?;
        let class = ClassIndex::checked(number as u64)
            .ok_or_else(|| invalid(format!("class {number}: 0 to {} are allowed", CLASSES - 1)))?;
        let stats = pool.class_stats(class);
        place.fill(zs_class_info {
            size: place.known(),
            object_size: stats.class.size.into(),
            chain: stats.class.chain.into(),
            slots_per_zspage: stats.class.slots.into(),
            zspages: stats.zspages.into(),
            frames: stats.frames.into(),
            objects: stats.objects,
            payload_bytes: stats.payload_bytes,
            slots: stats.slots,
            groups: stats.groups.map(u64::from),
        });
        Ok(())
    })
}

/// Recounts everything in a pool and compares: for tests and diagnosis, with no other thread at
/// work on it.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_FORKED`, `ZS_CORRUPT`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_validate(pool: *mut zs_pool_t) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        own(pool.arena())?;
        pool.validate().map_err(corrupt)
    })
}
