//! Pools: made, emptied, destroyed.

use crate::arena::{ARENAS, SharedArena, known_flags, own, zs_arena};
use crate::border::{Out, answer, text};
use crate::registry::Registry;
use crate::result::zs_result::ZS_BUSY;
use crate::result::{invalid, zs_result};
use crate::versioned::{self, Versioned};
use core::ffi::c_char;
use core::ptr;
use core::sync::atomic::AtomicU64;
use std::sync::Arc;
use zsmalloc::{HandlePool, PoolOptions};

/// Objects of 1 byte to a page, named by handles. Made by `zs_pool_create()`, or `zs_create_pool()`
/// of the kernel's names; may be used by all threads at once.
#[derive(Debug)]
pub struct zs_pool(());

/// The same by another name: the plain one is the kernel's.
pub type zs_pool_t = zs_pool;

/// Overwrite the bytes of objects with zeros when they are freed, replaced or moved.
pub const ZS_POOL_ZERO_FREED: u64 = 1;

/// The options of a pool. Set all of it to zero first: a field of 0 is the default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_pool_options {
    /// A name for reports: UTF-8, at most 31 bytes. NULL: none.
    pub name: *const c_char,
    /// The most objects, up to 2^32 - 2; 8 bytes of address space each. Default: as many of the
    /// smallest objects as the arena's limit holds.
    pub max_objects: u64,
    /// `ZS_POOL_...`, added up. Default: none.
    pub flags: u64,
}

// SAFETY: a pointer and two numbers without padding; all of them were in the first version.
unsafe impl Versioned for zs_pool_options {
    const FIRST_SIZE: usize = 24;
    const NAME: &str = "zs_pool_options";
}

/// A pool, as C programs use it.
pub(crate) type CPool = HandlePool<SharedArena>;

/// The object that a `zs_pool_t *` names.
pub(crate) struct PoolEntry {
    pub(crate) pool: CPool,
    /// Frames that compactions have freed, for the kernel's statistics.
    pub(crate) frames_compacted: AtomicU64,
}

/// The process's pools.
pub(crate) static POOLS: Registry<PoolEntry, 4096> = Registry::new();

impl PoolEntry {
    pub(crate) fn new(arena: SharedArena, options: PoolOptions<'_>) -> Result<Self, zs_result> {
        Ok(Self {
            pool: CPool::new(arena, options)?,
            frames_compacted: AtomicU64::new(0),
        })
    }
}

/// The pool that a pointer names.
///
/// # Safety
/// Nobody destroys it during `'a`.
#[inline]
pub(crate) unsafe fn find<'a>(pool: *const zs_pool) -> Result<&'a CPool, zs_result> {
    // SAFETY: by this function's contract.
    Ok(&unsafe { POOLS.get(pool) }?.pool)
}

/// Makes a pool in an arena, which must outlive it. `options` may be NULL (then `size` is ignored),
/// else `size` is `sizeof *options`. Takes some 20 KiB, and 30 more with the first object.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_INVALID` (also if the arena carries 1024 pools),
/// `ZS_NO_MEMORY`, `ZS_TOO_MANY` (4096 pools), `ZS_FORKED`.
///
/// # Safety
/// As for all functions: see `docs/c.md`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_create(
    arena: *mut zs_arena,
    options: *const zs_pool_options,
    size: usize,
    pool: *mut *mut zs_pool_t,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract.
        let place = unsafe { Out::new(pool) }?;
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let arena = unsafe { ARENAS.get(arena) }?;
        own(&arena.arena)?;
        let options = if options.is_null() {
            zs_pool_options {
                name: ptr::null(),
                max_objects: 0,
                flags: 0,
            }
        } else {
            // SAFETY: by this function's contract.
            unsafe { versioned::options(options, size) }?
        };
        // SAFETY: the name is NULL or a text, by this function's contract.
        let name = unsafe { text(options.name) };
        let name = name
            .to_str()
            .map_err(|error| invalid(format!("the name is not UTF-8: {error}")))?;
        known_flags(options.flags, ZS_POOL_ZERO_FREED)?;
        let max_objects = match options.max_objects {
            0 => None,
            most => Some(u32::try_from(most).unwrap_or(u32::MAX)),
        };
        let options = PoolOptions {
            max_objects,
            zero_freed: options.flags & ZS_POOL_ZERO_FREED != 0,
            ..PoolOptions::named(name)
        };
        let entry = PoolEntry::new(Arc::clone(&arena.arena), options)?;
        place.set(POOLS.insert(entry)?);
        Ok(())
    })
}

/// Frees every object of a pool, so that it can be destroyed, or filled anew. Takes as long as
/// freeing them one by one.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_FORKED`, and `ZS_BUSY` if objects are left that somebody has
/// mapped for writing, is looking at, or has just inserted: all others are gone then.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_clear(pool: *mut zs_pool_t) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        own(pool.arena())?;
        pool.for_each(|handle, guard| {
            drop(guard);
            // Whoever came in between: the count below tells.
            let _ = pool.free(handle);
        });
        match pool.stats().objects {
            0 => Ok(()),
            _ => Err(ZS_BUSY),
        }
    })
}

/// Destroys an empty pool. In a forked child, any pool: what the child has of it is let go of.
///
/// Answers `ZS_NULL`, `ZS_GONE`, or `ZS_BUSY` if objects are left: `zs_pool_get_class_info()` says
/// in which classes, `zs_pool_clear()` frees them.
///
/// # Safety
/// As for all functions; no other call is using the pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_destroy(pool: *mut zs_pool_t) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody else destroys it meanwhile.
        unsafe { destroy(pool) }
    })
}

/// # Safety
/// No other call is using the pool.
pub(crate) unsafe fn destroy(pool: *mut zs_pool) -> Result<(), zs_result> {
    // SAFETY: by this function's contract nobody else destroys it meanwhile.
    let found = unsafe { find(pool) }?;
    if !found.arena().is_forked() && found.stats().objects > 0 {
        return Err(ZS_BUSY);
    }
    // SAFETY: by this function's contract no other call has a reference.
    drop(unsafe { POOLS.take(pool) }?);
    Ok(())
}
