//! An object's bytes where they lie, until the view ends.
//!
//! `zs_view` in C's memory -> the reader's guard, as words -> pin on the object's word

use crate::arena::SharedArena;
use crate::border::answer;
use crate::object::{handle_of, zs_handle};
use crate::pool::{CPool, find, zs_pool_t};
use crate::result::zs_result::{ZS_NOT_OPEN, ZS_NULL};
use crate::result::{invalid, zs_result};
use core::ffi::c_void;
use core::mem::{align_of, offset_of, size_of};
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use zsmalloc::{HandleTable, ReadGuard, Spans};

/// An object's bytes: one piece, or two if the object lies in two page frames.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_spans {
    /// The first piece.
    pub first: *const c_void,
    /// Its bytes, at least 1.
    pub first_len: usize,
    /// The rest, or NULL.
    pub second: *const c_void,
    /// Its bytes, or 0.
    pub second_len: usize,
}

/// A look at an object, begun by `zs_view_begin()`: its bytes can neither change nor go until
/// `zs_view_end()`. May be passed to another thread, but neither moved nor copied: its address
/// counts.
#[repr(C)]
#[derive(Debug)]
pub struct zs_view {
    /// The object's bytes.
    pub bytes: zs_spans,
    /// The library's.
    pub reserved: [u64; 10],
}

/// The reader that a view stands for.
type Reader = ReadGuard<'static, SharedArena, HandleTable>;

/// The words of a view: the reader's, the pool's name, and whether it is open. The rest is for
/// later.
const READER_WORDS: usize = 7;
const POOL: usize = READER_WORDS;
const OPEN: usize = POOL + 1;
const _: () = assert!(size_of::<Reader>() <= READER_WORDS * size_of::<u64>());
const _: () = assert!(align_of::<Reader>() <= align_of::<zs_view>());
const _: () = assert!(offset_of!(zs_view, bytes) == 0);

/// The words of a view in C's memory.
fn words_of(view: *mut zs_view) -> Result<*mut u64, zs_result> {
    if view.is_null() {
        return Err(ZS_NULL);
    }
    if !view.is_aligned() {
        return Err(invalid("the view's address is not a multiple of 8"));
    }
    Ok(view.wrapping_byte_add(offset_of!(zs_view, reserved)).cast())
}

/// What a view says at an address while it is open. A number without a meaning, so that
/// no memory says it by chance.
fn open_at(view: *const zs_view) -> u64 {
    view.addr() as u64 ^ 0x5afe_b10b_9d3c_27e1
}

pub(crate) fn spans_of(spans: Spans<'_>) -> zs_spans {
    zs_spans {
        first: spans.first.as_ptr().cast(),
        first_len: spans.first.len(),
        second: match spans.second {
            [] => ptr::null(),
            second => second.as_ptr().cast(),
        },
        second_len: spans.second.len(),
    }
}

/// Opens a view of an object, without copying it. While it is open, the object can be freed (the
/// handle is stale then, the bytes stay), but not replaced or written to. An object has room for 15
/// at a time. A `zs_view` that is open is not to be begun again: nobody could end the first view
/// then.
///
/// Waits for another thread's `zs_pool_write()` to the same object, for nothing else.
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_STALE`, and `ZS_BUSY` if the object is mapped for writing or
/// has 15 readers.
///
/// # Safety
/// As for all functions: see `docs/c.md`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_view_begin(
    pool: *mut zs_pool_t,
    handle: zs_handle,
    view: *mut zs_view,
) -> zs_result {
    answer(|| {
        let name = pool.cast_const();
        // SAFETY: by this function's contract nobody destroys it meanwhile; nor, as `destroy`
        // refuses while an object has a reader, before the view ends.
        let pool: &'static CPool = unsafe { find(name) }?;
        let words = words_of(view)?;
        let reader = pool.read(handle_of(handle)?)?;
        // Word by word: a view that is put together elsewhere and copied takes twice as long.
        // SAFETY: the start of a view, which is aligned and by this function's contract writable.
        unsafe { view.cast::<zs_spans>().write(spans_of(reader.spans())) };
        // SAFETY: the first of its words, which are as large as a reader, and aligned for one.
        unsafe { words.cast::<Reader>().write(reader) };
        // SAFETY: the word behind them.
        unsafe { words.wrapping_add(POOL).write(name.addr() as u64) };
        // SAFETY: the word behind that.
        unsafe { words.wrapping_add(OPEN).write(open_at(view)) };
        Ok(())
    })
}

/// Ends a view; if the object was freed meanwhile, its memory goes now. Of several threads that end
/// the same one, one does.
///
/// Answers `ZS_NULL`, `ZS_NOT_OPEN` for a view that was ended, copied, or never begun, and
/// `ZS_GONE` in a forked child that has destroyed the pool.
///
/// # Safety
/// As for all functions; nothing but the library wrote to `reserved`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_view_end(view: *mut zs_view) -> zs_result {
    answer(|| {
        let words = words_of(view)?;
        // SAFETY: a word of a view, aligned and by this function's contract writable; until the
        // view is ended, nobody but ends, which are atomic, touches it.
        let open = unsafe { AtomicU64::from_ptr(words.wrapping_add(OPEN)) };
        // Of several threads that end it, one does. Relaxed: the program has ordered the begin
        // before each end.
        open.compare_exchange(open_at(view), 0, Ordering::Relaxed, Ordering::Relaxed)
            .map_err(|_| ZS_NOT_OPEN)?;
        // SAFETY: another word of it, which `zs_view_begin` wrote, as the view was open.
        let name = unsafe { words.wrapping_add(POOL).read() };
        // SAFETY: nobody destroys a pool in use but a forked child, whose one thread this is then.
        unsafe { find(ptr::without_provenance::<zs_pool_t>(name as usize)) }?;
        // SAFETY: the view was open at this address, so `zs_view_begin` left a reader there; the
        // word that said so is gone, so nobody takes it again.
        drop(unsafe { words.cast::<Reader>().read() });
        Ok(())
    })
}
