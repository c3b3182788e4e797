//! C's functions, as Rust calls them: what comes out is what C would see.
//!
//! Every call keeps to the contract that all functions have: pointers are to plain memory of the
//! length that is handed in beside them, and a pool is destroyed by its one owner.

use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, size_of};
use core::ptr;
use core::slice;
use std::io;
use zs_capi::*;
use zs_mm::PageSize;

/// An out-parameter's value, if the call went well; a call that did not must have left it alone.
fn answered<T: Copy + PartialEq + core::fmt::Debug>(
    untouched: T,
    call: impl FnOnce(*mut T) -> zs_result,
) -> Result<T, zs_result> {
    let mut place = untouched;
    match call(&raw mut place) {
        zs_result::ZS_OK => Ok(place),
        error => {
            assert_eq!(place, untouched, "written though {error:?}");
            Err(error)
        }
    }
}

/// A struct that a call fills.
fn filled<T>(call: impl FnOnce(*mut T, usize) -> zs_result) -> Result<T, zs_result> {
    let mut place = MaybeUninit::<T>::uninit();
    match call(place.as_mut_ptr(), size_of::<T>()) {
        // SAFETY: filled, as the answer says.
        zs_result::ZS_OK => Ok(unsafe { place.assume_init() }),
        error => Err(error),
    }
}

fn done(result: zs_result) -> Result<(), zs_result> {
    match result {
        zs_result::ZS_OK => Ok(()),
        error => Err(error),
    }
}

/// What a function under the kernel's names left in `errno`.
fn errno_after<T>(call: impl FnOnce() -> T) -> (T, Option<i32>) {
    // SAFETY: the call takes nothing.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the place of this thread's `errno`.
    unsafe { *place = 0 };
    let value = call();
    let errno = io::Error::last_os_error().raw_os_error();
    (value, errno.filter(|&errno| errno != 0))
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Arena(*mut zs_arena);

impl Arena {
    pub(crate) fn new(page: PageSize, limit: u64) -> Result<Self, zs_result> {
        let options = zs_arena_options {
            limit,
            page_size: page.bytes() as u64,
            decay_ms: 0,
            flags: 0,
        };
        let size = size_of::<zs_arena_options>();
        // SAFETY: see above.
        answered(ptr::null_mut(), |place| unsafe {
            zs_arena_create(&raw const options, size, place)
        })
        .map(Self)
    }

    pub(crate) fn info(self) -> Result<zs_arena_info, zs_result> {
        // SAFETY: see above.
        filled(|place, size| unsafe { zs_arena_get_info(self.0, place, size) })
    }

    pub(crate) fn trim(self) -> Result<u64, zs_result> {
        // SAFETY: see above.
        answered(u64::MAX, |place| unsafe { zs_arena_trim(self.0, place) })
    }

    pub(crate) fn decay(self) -> Result<u64, zs_result> {
        // SAFETY: see above.
        answered(u64::MAX, |place| unsafe { zs_arena_decay(self.0, place) })
    }

    pub(crate) fn destroy(self) -> Result<(), zs_result> {
        // SAFETY: see above.
        done(unsafe { zs_arena_destroy(self.0) })
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool(*mut zs_pool_t);

impl Pool {
    pub(crate) fn new(arena: Arena, most: u32, zero_freed: bool) -> Result<Self, zs_result> {
        let options = zs_pool_options {
            name: c"model".as_ptr(),
            max_objects: most.into(),
            flags: if zero_freed { ZS_POOL_ZERO_FREED } else { 0 },
        };
        let size = size_of::<zs_pool_options>();
        // SAFETY: see above.
        answered(ptr::null_mut(), |place| unsafe {
            zs_pool_create(arena.0, &raw const options, size, place)
        })
        .map(Self)
    }

    pub(crate) fn destroy(self) -> Result<(), zs_result> {
        // SAFETY: see above.
        done(unsafe { zs_pool_destroy(self.0) })
    }

    pub(crate) fn insert(self, bytes: &[u8]) -> Result<u64, zs_result> {
        let data = bytes.as_ptr().cast();
        // SAFETY: see above.
        answered(0, |place| unsafe {
            zs_pool_insert(self.0, data, bytes.len(), place)
        })
    }

    pub(crate) fn allocate(self, len: usize) -> Result<u64, zs_result> {
        // SAFETY: see above.
        answered(0, |place| unsafe { zs_pool_allocate(self.0, len, place) })
    }

    /// The kernel's allocation.
    pub(crate) fn malloc(self, len: usize) -> (u64, Option<i32>) {
        // SAFETY: see above.
        errno_after(|| unsafe { zs_malloc(self.0, len, 0, -1) })
    }

    /// Reads into a buffer; the length is that of the object, also if it does not fit.
    pub(crate) fn read(self, handle: u64, buffer: &mut [u8]) -> (zs_result, usize) {
        let mut len = usize::MAX;
        let data = buffer.as_mut_ptr().cast();
        // SAFETY: see above.
        let result = unsafe { zs_pool_read(self.0, handle, data, buffer.len(), &raw mut len) };
        (result, len)
    }

    pub(crate) fn replace(self, handle: u64, bytes: &[u8]) -> Result<(), zs_result> {
        let data = bytes.as_ptr().cast();
        // SAFETY: see above.
        done(unsafe { zs_pool_replace(self.0, handle, data, bytes.len()) })
    }

    pub(crate) fn write(self, handle: u64, offset: usize, bytes: &[u8]) -> Result<(), zs_result> {
        let data = bytes.as_ptr().cast();
        // SAFETY: see above.
        done(unsafe { zs_pool_write(self.0, handle, offset, data, bytes.len()) })
    }

    pub(crate) fn free(self, handle: u64) -> Result<(), zs_result> {
        // SAFETY: see above.
        done(unsafe { zs_pool_free(self.0, handle) })
    }

    /// The kernel's free.
    pub(crate) fn kernel_free(self, handle: u64) -> Option<i32> {
        // SAFETY: see above.
        errno_after(|| unsafe { zs_free(self.0, handle) }).1
    }

    pub(crate) fn view(self, handle: u64) -> Result<View, zs_result> {
        let mut view = Box::new(MaybeUninit::<zs_view>::uninit());
        // SAFETY: see above.
        done(unsafe { zs_view_begin(self.0, handle, view.as_mut_ptr()) })?;
        Ok(View(view))
    }

    /// The kernel's map, until [`unmap`](Self::unmap), of an object of `len` bytes.
    pub(crate) fn map(self, handle: u64, mode: u32, len: usize) -> Result<Mapped, Option<i32>> {
        // SAFETY: see above.
        let (place, errno) = errno_after(|| unsafe { zs_map_object(self.0, handle, mode) });
        match place.is_null() {
            true => Err(errno),
            false => Ok(Mapped { place, len }),
        }
    }

    pub(crate) fn unmap(self, handle: u64) -> Option<i32> {
        // SAFETY: see above.
        errno_after(|| unsafe { zs_unmap_object(self.0, handle) }).1
    }

    /// The first `len` bytes by the kernel's read; a copy of them, and the `errno` of begin or end.
    pub(crate) fn kernel_read(self, handle: u64, len: usize) -> Result<Vec<u8>, Option<i32>> {
        let mut local = vec![0xa5_u8; len];
        let copy: *mut c_void = local.as_mut_ptr().cast();
        let begin = || {
            // SAFETY: see above.
            unsafe { zs_obj_read_begin(self.0, handle, len, copy) }
        };
        let (place, errno) = errno_after(begin);
        if place.is_null() {
            return Err(errno);
        }
        // SAFETY: so many bytes are shown until the end below.
        let bytes = unsafe { slice::from_raw_parts(place.cast::<u8>(), len) }.to_vec();
        // SAFETY: see above.
        match errno_after(|| unsafe { zs_obj_read_end(self.0, handle, len, place) }).1 {
            None => Ok(bytes),
            errno => Err(errno),
        }
    }

    pub(crate) fn trim(self) -> Result<u64, zs_result> {
        // SAFETY: see above.
        answered(u64::MAX, |place| unsafe { zs_pool_trim(self.0, place) })
    }

    pub(crate) fn shrink(self, frames: u64) -> Result<u64, zs_result> {
        // SAFETY: see above.
        answered(u64::MAX, |place| unsafe {
            zs_pool_shrink(self.0, frames, place)
        })
    }

    pub(crate) fn maintain(self, bytes: u64) -> Result<zs_maintain_report, zs_result> {
        // SAFETY: see above.
        filled(|place, size| unsafe { zs_pool_maintain(self.0, bytes, place, size) })
    }

    pub(crate) fn can_compact(self) -> Result<u64, zs_result> {
        // SAFETY: see above.
        answered(u64::MAX, |place| unsafe {
            zs_pool_can_compact(self.0, place)
        })
    }

    pub(crate) fn compact(self, objects: u64) -> Result<zs_compact_report, zs_result> {
        // SAFETY: see above.
        filled(|place, size| unsafe { zs_pool_compact(self.0, objects, ZS_UNLIMITED, place, size) })
    }

    pub(crate) fn info(self) -> Result<zs_pool_info, zs_result> {
        // SAFETY: see above.
        filled(|place, size| unsafe { zs_pool_get_info(self.0, place, size) })
    }

    pub(crate) fn class_info(self, number: usize) -> Result<zs_class_info, zs_result> {
        // SAFETY: see above.
        filled(|place, size| unsafe { zs_pool_get_class_info(self.0, number, place, size) })
    }

    pub(crate) fn validate(self) -> Result<(), zs_result> {
        // SAFETY: see above.
        done(unsafe { zs_pool_validate(self.0) })
    }

    /// Every object with a copy of its bytes; and how many could not be read.
    pub(crate) fn objects(self) -> Result<(Vec<Visited>, u64), zs_result> {
        unsafe extern "C" fn visit(
            context: *mut c_void,
            handle: zs_handle,
            spans: *const zs_spans,
        ) -> c_int {
            // SAFETY: the spans live until this returns.
            let bytes = copy_of(unsafe { &*spans });
            // SAFETY: the vector below, which nobody else touches meanwhile.
            unsafe { &mut *context.cast::<Vec<Visited>>() }.push((handle, bytes));
            0
        }
        let mut objects: Vec<Visited> = Vec::new();
        let context: *mut c_void = (&raw mut objects).cast();
        // SAFETY: see above.
        let skipped = answered(u64::MAX, |place| unsafe {
            zs_pool_for_each(self.0, Some(visit), context, place)
        })?;
        Ok((objects, skipped))
    }
}

/// A handle, and a copy of its object's bytes.
type Visited = (u64, Vec<u8>);

/// What is mapped, until the unmap.
#[derive(Debug)]
pub(crate) struct Mapped {
    place: *mut c_void,
    len: usize,
}

impl Mapped {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped, and the driver uses them before the unmap only.
        unsafe { slice::from_raw_parts(self.place.cast(), self.len) }
    }

    /// For an object that is mapped for writing.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; mapped for writing, they are this map's alone.
        unsafe { slice::from_raw_parts_mut(self.place.cast(), self.len) }
    }
}

/// An open view.
pub(crate) struct View(Box<MaybeUninit<zs_view>>);

impl View {
    pub(crate) fn spans(&self) -> zs_spans {
        // SAFETY: filled when it was begun.
        unsafe { self.0.assume_init_ref() }.bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        copy_of(&self.spans())
    }

    /// Ends it; a second end is refused.
    pub(crate) fn end(mut self) -> Result<(), zs_result> {
        let view = self.0.as_mut_ptr();
        // SAFETY: see above.
        done(unsafe { zs_view_end(view) })?;
        // SAFETY: see above.
        let again = unsafe { zs_view_end(view) };
        assert_eq!(again, zs_result::ZS_NOT_OPEN);
        Ok(())
    }
}

fn copy_of(spans: &zs_spans) -> Vec<u8> {
    // SAFETY: the span is valid while what shows it is open, which the caller holds.
    let mut bytes =
        unsafe { slice::from_raw_parts(spans.first.cast::<u8>(), spans.first_len) }.to_vec();
    if !spans.second.is_null() {
        // SAFETY: as for the first.
        bytes.extend(unsafe { slice::from_raw_parts(spans.second.cast::<u8>(), spans.second_len) });
    }
    bytes
}
