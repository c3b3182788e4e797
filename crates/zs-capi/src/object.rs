//! Objects: stored, read, replaced, freed.

use crate::border::{Out, answer, buffer, bytes};
use crate::pool::{find, zs_pool_t};
use crate::result::zs_result;
use crate::result::zs_result::ZS_STALE;
use core::ffi::c_void;
use zsmalloc::Handle;

/// Names one object of one pool. Never 0; a plain number that may be stored anywhere.
pub type zs_handle = u64;

/// A handle from C's number: 0 names nothing.
#[inline]
pub(crate) fn handle_of(bits: zs_handle) -> Result<Handle, zs_result> {
    Handle::from_bits(bits).ok_or(ZS_STALE)
}

/// Stores a copy of `len` bytes, 1 to a page; `handle` becomes the object's.
///
/// May ask the system for memory, 128 KiB at a time; waits for nothing else but short locks.
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_ZERO_SIZE`, `ZS_TOO_LARGE`, `ZS_NO_MEMORY`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions: see `docs/c.md`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_insert(
    pool: *mut zs_pool_t,
    data: *const c_void,
    len: usize,
    handle: *mut zs_handle,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        // SAFETY: by this function's contract.
        let place = unsafe { Out::new(handle) }?;
        // SAFETY: by this function's contract.
        let data = unsafe { bytes(data, len) }?;
        place.set(pool.insert(data)?.to_bits());
        Ok(())
    })
}

/// Makes an object of `len` bytes, 1 to a page, that read as zero; `handle` becomes the object's.
///
/// Waits and answers as `zs_pool_insert()`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_allocate(
    pool: *mut zs_pool_t,
    len: usize,
    handle: *mut zs_handle,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        // SAFETY: by this function's contract.
        let place = unsafe { Out::new(handle) }?;
        place.set(pool.allocate(len)?.to_bits());
        Ok(())
    })
}

/// Copies an object into a buffer of `capacity` bytes; `len` becomes the object's length, also when
/// the answer is `ZS_BUFFER_TOO_SMALL`, so that a capacity of 0 (and a buffer of NULL) asks for the
/// length.
///
/// Waits for another thread's `zs_pool_write()` to the same object, for nothing else.
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_STALE`, `ZS_BUFFER_TOO_SMALL`, and `ZS_BUSY` if the object is
/// mapped for writing or has 15 readers.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_read(
    pool: *mut zs_pool_t,
    handle: zs_handle,
    data: *mut c_void,
    capacity: usize,
    len: *mut usize,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        // SAFETY: by this function's contract.
        let place = unsafe { Out::new(len) }?;
        // SAFETY: by this function's contract.
        let data = unsafe { buffer(data, capacity) }?;
        // By reference: to move a guard out of its result costs as much as all checks together.
        let outcome = pool.read(handle_of(handle)?);
        let guard = outcome.as_ref().map_err(|error| zs_result::from(*error))?;
        match guard.copy_to(data) {
            Ok(len) => place.set(len),
            Err(error) => {
                place.set(guard.len());
                return Err(error.into());
            }
        }
        Ok(())
    })
}

/// Gives an object new contents of any length, 1 to a page, under the same handle. Readers see the
/// old ones or the new ones; on an error the old ones stay. Takes memory for the new beside the
/// old.
///
/// Waits for another thread's write or move of the same object, for nothing else.
/// Answers as `zs_pool_insert()`, `ZS_STALE`, and `ZS_BUSY` while somebody looks at the object or
/// has it mapped.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_replace(
    pool: *mut zs_pool_t,
    handle: zs_handle,
    data: *const c_void,
    len: usize,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        // SAFETY: by this function's contract.
        let data = unsafe { bytes(data, len) }?;
        pool.replace(handle_of(handle)?, data)?;
        Ok(())
    })
}

/// Overwrites `len` bytes of an object from `offset` on, in place. Readers see all of it or
/// nothing.
///
/// Waits for another thread's write or move of the same object, for nothing else.
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_STALE`, `ZS_TOO_LARGE` if the range leaves the object,
/// `ZS_FORKED`, and `ZS_BUSY` while somebody looks at the object or has it mapped.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_write(
    pool: *mut zs_pool_t,
    handle: zs_handle,
    offset: usize,
    data: *const c_void,
    len: usize,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        // SAFETY: by this function's contract.
        let data = unsafe { bytes(data, len) }?;
        pool.write(handle_of(handle)?, offset, data)?;
        Ok(())
    })
}

/// Frees an object. The handle is stale at once; while views of it are open, the last one to end
/// gives the memory back.
///
/// Waits for another thread's write to the same object, for nothing else.
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_STALE` (a second free, too), `ZS_FORKED`, `ZS_BUSY` while
/// mapped for writing.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_free(pool: *mut zs_pool_t, handle: zs_handle) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        pool.free(handle_of(handle)?)?;
        Ok(())
    })
}
