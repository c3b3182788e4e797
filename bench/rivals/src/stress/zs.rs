//! Blobs in one pool of libzsmalloc, by its C functions.

#![expect(unsafe_code, reason = "C's functions are called as C calls them")]

use super::blobs::Blobs;
use anyhow::{Result, bail};
use std::ptr;
use std::slice;
use zs_capi::{
    zs_arena, zs_arena_create, zs_arena_destroy, zs_arena_options, zs_handle, zs_map_object,
    zs_mapmode, zs_pool_create, zs_pool_destroy, zs_pool_free, zs_pool_insert, zs_pool_t,
    zs_result, zs_unmap_object,
};

/// One pool in one arena.
pub(super) struct Zsmalloc {
    arena: *mut zs_arena,
    pool: *mut zs_pool_t,
}

// SAFETY: the library's functions may be called by all threads; the pointers are only names.
unsafe impl Sync for Zsmalloc {}

fn must(result: zs_result) -> Result<()> {
    match result {
        zs_result::ZS_OK => Ok(()),
        error => bail!("{error:?}"),
    }
}

impl Zsmalloc {
    pub(super) fn new(live: u32) -> Result<Self> {
        let options = zs_arena_options {
            // Room for all objects at their largest, twice over.
            limit: 2 * u64::from(live) * 4096 + (256 << 20),
            page_size: 4096,
            decay_ms: 0,
            flags: 0,
        };
        let (mut arena, mut pool) = (ptr::null_mut(), ptr::null_mut());
        let size = size_of::<zs_arena_options>();
        // SAFETY: the options are so long; the place is a pointer's.
        must(unsafe { zs_arena_create(&raw const options, size, &raw mut arena) })?;
        // SAFETY: as above.
        must(unsafe { zs_pool_create(arena, ptr::null(), 0, &raw mut pool) })?;
        Ok(Self { arena, pool })
    }

    /// Destroys both, which must be empty.
    pub(super) fn end(self) -> Result<()> {
        // SAFETY: nobody else has the pool any more.
        must(unsafe { zs_pool_destroy(self.pool) })?;
        // SAFETY: as above.
        must(unsafe { zs_arena_destroy(self.arena) })
    }
}

impl Blobs for Zsmalloc {
    type Name = zs_handle;

    fn store(&self, bytes: &[u8]) -> Result<zs_handle> {
        let mut handle = 0;
        let data = bytes.as_ptr().cast();
        // SAFETY: the slice is so long; nobody destroys the pool meanwhile.
        must(unsafe { zs_pool_insert(self.pool, data, bytes.len(), &raw mut handle) })?;
        Ok(handle)
    }

    fn show(
        &self,
        handle: zs_handle,
        len: usize,
        see: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<()> {
        // SAFETY: nobody destroys the pool meanwhile.
        let place = unsafe { zs_map_object(self.pool, handle, zs_mapmode::ZS_MM_RO as u32) };
        if place.is_null() {
            bail!("an object cannot be mapped");
        }
        // SAFETY: the object has so many bytes, which stay as they are until the unmap.
        let seen = see(unsafe { slice::from_raw_parts(place.cast(), len) });
        // SAFETY: as above; nobody uses the bytes any more.
        unsafe { zs_unmap_object(self.pool, handle) };
        seen
    }

    fn change(
        &self,
        handle: zs_handle,
        len: usize,
        change: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        // SAFETY: nobody destroys the pool meanwhile.
        let place = unsafe { zs_map_object(self.pool, handle, zs_mapmode::ZS_MM_RW as u32) };
        if place.is_null() {
            bail!("an object cannot be mapped for writing");
        }
        // SAFETY: the object has so many bytes, mapped for this thread alone until the unmap.
        let changed = change(unsafe { slice::from_raw_parts_mut(place.cast(), len) });
        // SAFETY: as above; nobody uses the bytes any more.
        unsafe { zs_unmap_object(self.pool, handle) };
        changed
    }

    fn free(&self, handle: zs_handle) -> Result<()> {
        // SAFETY: nobody destroys the pool meanwhile.
        must(unsafe { zs_pool_free(self.pool, handle) })
    }
}
