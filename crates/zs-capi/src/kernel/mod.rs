//! The kernel's names: `zsmalloc_kernel.h`, as of Linux 6.18, with the maps of 2013.
//!
//! The same pools by other names: `struct zs_pool` is `zs_pool_t`. A function that fails returns
//! what the table in `docs/c.md` says and sets `errno`; where the kernel's own would have crashed,
//! too.

mod open;

use crate::arena::own;
use crate::border::{Out, bytes, text};
use crate::object::handle_of;
use crate::pool::{POOLS, PoolEntry, destroy, find, zs_pool};
use crate::result::zs_result;
use crate::result::zs_result::{
    ZS_BUSY, ZS_INTERNAL, ZS_INVALID, ZS_NO_MEMORY, ZS_TOO_LARGE, ZS_TOO_MANY,
};
use crate::shrink::freed;
use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use core::ptr;
use core::sync::atomic::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use zs_mm::{Arena, ArenaOptions, BLOCK_BYTES, MAX_ARENA_BYTES};
use zs_os::{AnonBacking, Errno, HOST, memory_info, set_errno};
use zsmalloc::{CompactBudget, MAX_NAME, MapMode, PoolOptions};

/// Allocation flags: accepted, and without a meaning here.
pub type gfp_t = c_uint;

/// The access that a mapping gives.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum zs_mapmode {
    /// Read and write.
    ZS_MM_RW = 0,
    /// Read: nothing is written back.
    ZS_MM_RO = 1,
    /// Write: the object becomes what is written, and zeros.
    ZS_MM_WO = 2,
}

/// The events of a pool, counted.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_pool_stats {
    /// Page frames that compactions have freed.
    pub pages_compacted: c_ulong,
}

/// Runs what a function does; on an error (or a panic, which goes no further) sets `errno` and
/// returns `failed`.
fn answer<T>(failed: T, call: impl FnOnce() -> Result<T, zs_result>) -> T {
    let error = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(_) => ZS_INTERNAL,
    };
    set_errno(match error {
        ZS_NO_MEMORY | ZS_TOO_MANY => Errno::NoMemory,
        ZS_BUSY => Errno::Busy,
        ZS_INTERNAL => Errno::Failed,
        _ => Errno::Invalid,
    });
    failed
}

/// Makes a pool with an arena of its own: pages of 4 KiB, no limit below the system's memory. Of
/// the name, 31 bytes are kept. NULL on failure: `ENOMEM`.
///
/// # Safety
/// `name` is NULL, or a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_create_pool(name: *const c_char) -> *mut zs_pool {
    answer(ptr::null_mut(), || {
        // SAFETY: by this function's contract.
        let name = unsafe { text(name) }.to_string_lossy();
        let memory = memory_info().map_or(MAX_ARENA_BYTES, |info| info.total);
        let limit = memory.clamp(BLOCK_BYTES as u64, MAX_ARENA_BYTES);
        let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(limit))?;
        let kept = (0..=MAX_NAME).rfind(|&end| name.is_char_boundary(end));
        let options = PoolOptions::named(&name[..kept.unwrap_or(0)]);
        POOLS.insert(PoolEntry::new(Arc::new(arena), options)?)
    })
}

/// Destroys a pool without objects. With some, the pool stays: `EBUSY`. Not a pool: `EINVAL`.
///
/// # Safety
/// No other call is using the pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_destroy_pool(pool: *mut zs_pool) {
    answer((), || {
        // SAFETY: by this function's contract.
        unsafe { destroy(pool) }
    });
}

/// Makes an object of `size` bytes that read as zero; returns its handle. `flags` and `nid` mean
/// nothing. 0 on failure: `EINVAL` for a size of 0, `ENOSPC` for more than a page, `ENOMEM`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_malloc(
    pool: *mut zs_pool,
    size: usize,
    flags: gfp_t,
    nid: c_int,
) -> c_ulong {
    let _ = (flags, nid);
    let mut too_large = false;
    let handle = answer(0, || {
        // SAFETY: by this function's contract.
        let handle = unsafe { find(pool) }?
            .allocate(size)
            .map_err(zs_result::from);
        too_large = handle == Err(ZS_TOO_LARGE);
        Ok(handle?.to_bits())
    });
    if too_large {
        set_errno(Errno::NoSpace);
    }
    handle
}

/// Frees an object; 0 is none. Not an object of the pool, or no longer: `EINVAL`. While mapped for
/// writing: it stays, `EBUSY`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_free(pool: *mut zs_pool, handle: c_ulong) {
    answer((), || {
        if handle == 0 {
            return Ok(());
        }
        // SAFETY: by this function's contract.
        Ok(unsafe { find(pool) }?.free(handle_of(handle)?)?)
    });
}

/// Opens an object for reading; returns its first `mem_len` bytes, in place, or copied to
/// `local_copy` if they lie in two page frames. Until `zs_obj_read_end()` of the same thread, the
/// object cannot change. NULL on failure: `EINVAL` (not an object, longer than it, no `local_copy`
/// where one is needed), `EBUSY` (mapped for writing).
///
/// # Safety
/// `local_copy` is NULL or has room for `mem_len` bytes; nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_obj_read_begin(
    pool: *mut zs_pool,
    handle: c_ulong,
    mem_len: usize,
    local_copy: *mut c_void,
) -> *mut c_void {
    answer(ptr::null_mut(), || {
        // SAFETY: by this function's contract.
        unsafe { open::begin_read(pool, handle, mem_len, local_copy) }
    })
}

/// Ends what `zs_obj_read_begin()` began in this thread, with the same `mem_len` and with what it
/// returned. Nothing like that begun: `EINVAL`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_obj_read_end(
    pool: *mut zs_pool,
    handle: c_ulong,
    mem_len: usize,
    handle_mem: *mut c_void,
) {
    answer((), || open::end_read(pool, handle, mem_len, handle_mem));
}

/// Overwrites the first `mem_len` bytes of an object. Unlike in the kernel, more than it has is
/// refused: `EINVAL`. Not an object: `EINVAL`. While somebody reads it or has it mapped: `EBUSY`.
///
/// # Safety
/// `handle_mem` is NULL or has `mem_len` bytes; nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_obj_write(
    pool: *mut zs_pool,
    handle: c_ulong,
    handle_mem: *const c_void,
    mem_len: usize,
) {
    answer((), || {
        // SAFETY: by this function's contract.
        let pool = unsafe { find(pool) }?;
        // SAFETY: by this function's contract.
        let bytes = unsafe { bytes(handle_mem, mem_len) }?;
        Ok(pool.write(handle_of(handle)?, 0, bytes)?)
    });
}

/// Maps an object in one piece, by a `zs_mapmode`. A thread may have many mapped, also one many
/// times for reading, and unmap them in any order (of one object, the latest goes first); all end
/// with the thread. NULL on failure: `EINVAL` (not an object, not a mode), `EBUSY` (mapped for
/// writing, or read while it should be), `ENOMEM`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_map_object(
    pool: *mut zs_pool,
    handle: c_ulong,
    mm: c_uint,
) -> *mut c_void {
    const RW: c_uint = zs_mapmode::ZS_MM_RW as c_uint;
    const RO: c_uint = zs_mapmode::ZS_MM_RO as c_uint;
    const WO: c_uint = zs_mapmode::ZS_MM_WO as c_uint;
    answer(ptr::null_mut(), || {
        let mode = match mm {
            RW => MapMode::ReadWrite,
            RO => MapMode::ReadOnly,
            WO => MapMode::WriteOnly,
            _ => return Err(ZS_INVALID),
        };
        // SAFETY: by this function's contract.
        unsafe { open::map(pool, handle, mode) }
    })
}

/// Ends this thread's latest mapping of an object, and writes back what was mapped for writing.
/// None: `EINVAL`.
///
/// # Safety
/// Nobody destroys the pool meanwhile; nobody uses the mapped bytes any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_unmap_object(pool: *mut zs_pool, handle: c_ulong) {
    answer((), || open::unmap(pool, handle));
}

/// Moves objects together and gives the page frames that empties back to the system; returns how
/// many. 0 also while another thread compacts the pool, or a forked child shares its memory. Not a
/// pool: 0, `EINVAL`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_compact(pool: *mut zs_pool) -> c_ulong {
    answer(0, || {
        // SAFETY: by this function's contract.
        let entry = unsafe { POOLS.get(pool) }?;
        let freed = freed(&entry.compact(CompactBudget::UNLIMITED));
        if freed > 0 {
            entry.pool.trim();
        }
        Ok(freed)
    })
}

/// Page frames that the pool has. Not a pool: 0, `EINVAL`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_get_total_pages(pool: *mut zs_pool) -> c_ulong {
    answer(0, || {
        // SAFETY: by this function's contract.
        let pool = unsafe { find(pool) }?;
        own(pool.arena())?;
        Ok(pool.stats().frames)
    })
}

/// Bytes of those page frames. Not a pool: 0, `EINVAL`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_get_total_size_bytes(pool: *mut zs_pool) -> u64 {
    answer(0, || {
        // SAFETY: by this function's contract.
        let pool = unsafe { find(pool) }?;
        own(pool.arena())?;
        Ok(pool.stats().frame_bytes)
    })
}

/// The smallest object that takes a page frame of its own. Not a pool: 0, `EINVAL`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_huge_class_size(pool: *mut zs_pool) -> usize {
    answer(0, || {
        // SAFETY: by this function's contract.
        Ok(unsafe { find(pool) }?.geometry().huge_threshold() + 1)
    })
}

/// The number of the size class that `zs_malloc()` takes for `size` bytes. Not a size or a pool:
/// `UINT_MAX`, `EINVAL`.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_lookup_class_index(pool: *mut zs_pool, size: c_uint) -> c_uint {
    answer(c_uint::MAX, || {
        // SAFETY: by this function's contract.
        let class = unsafe { find(pool) }?.geometry().lookup(size as usize);
        Ok(class.ok_or(ZS_INVALID)?.number().into())
    })
}

/// Tells the events of a pool, counted. Not a pool, or no place: `EINVAL`.
///
/// # Safety
/// `stats` is NULL or has room for the struct; nobody destroys the pool meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_stats(pool: *mut zs_pool, stats: *mut zs_pool_stats) {
    answer((), || {
        // SAFETY: by this function's contract.
        let entry = unsafe { POOLS.get(pool) }?;
        // SAFETY: by this function's contract.
        let place = unsafe { Out::new(stats) }?;
        place.set(zs_pool_stats {
            // Relaxed: a counter.
            pages_compacted: entry.frames_compacted.load(Ordering::Relaxed),
        });
        Ok(())
    });
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_at_the_border_and_sets_errno() {
        assert_eq!(answer(7, || panic!("on purpose")), 7);
        let errno = std::io::Error::last_os_error().raw_os_error();
        assert_eq!(errno, Some(Errno::Failed as i32));
    }
}
