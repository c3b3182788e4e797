//! What a thread has open under the kernel's names: they name it again by pool and handle alone.
//!
//! thread -> stack of what it has open -> reader, or mapping with its buffer

use crate::arena::SharedArena;
use crate::object::{handle_of, zs_handle};
use crate::pool::{CPool, POOLS, find, zs_pool};
use crate::result::zs_result;
use crate::result::zs_result::{ZS_NOT_OPEN, ZS_NULL, ZS_TOO_LARGE};
use core::cell::RefCell;
use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use zsmalloc::{HandleTable, MapMode, Mapping, ReadGuard};

thread_local! {
    static OPEN: RefCell<Stack> = const { RefCell::new(Stack { open: Vec::new(), spare: None }) };
}

struct Stack {
    open: Vec<Open>,
    /// A buffer that a mapping had.
    spare: Option<Box<[u8]>>,
}

/// An object that the thread has open. It names its pool as C does, so that the end of the thread
/// leaves alone what a forked child has destroyed.
struct Open {
    pool: *const zs_pool,
    handle: zs_handle,
    held: ManuallyDrop<Held>,
}

enum Held {
    Reader {
        _guard: ReadGuard<'static, SharedArena, HandleTable>,
        shown: *const c_void,
        len: usize,
    },
    Mapping(Mapped),
}

/// A mapping, and the buffer that it works on.
struct Mapped {
    mapping: ManuallyDrop<Mapping<'static, 'static, SharedArena, HandleTable>>,
    buffer: NonNull<[u8]>,
}

impl Mapped {
    fn new(
        pool: &'static CPool,
        handle: zs_handle,
        mode: MapMode,
        buffer: Box<[u8]>,
    ) -> Result<Self, (zs_result, Box<[u8]>)> {
        let key = match handle_of(handle) {
            Ok(key) => key,
            Err(error) => return Err((error, buffer)),
        };
        let buffer = NonNull::from(Box::leak(buffer));
        // SAFETY: leaked just now, so it lives, and is the mapping's alone until that is dropped.
        match pool.map(key, mode, unsafe { &mut *buffer.as_ptr() }) {
            Ok(mapping) => Ok(Self {
                mapping: ManuallyDrop::new(mapping),
                buffer,
            }),
            // SAFETY: leaked above; without a mapping nobody refers to it.
            Err(error) => Err((error.into(), unsafe { Box::from_raw(buffer.as_ptr()) })),
        }
    }

    fn shown(&mut self) -> *mut c_void {
        match self.mapping.bytes_mut() {
            Some(bytes) => bytes.as_mut_ptr().cast(),
            None => self.mapping.as_ptr().cast_mut().cast(),
        }
    }

    /// Ends the mapping, which writes back what is to be written; returns the buffer.
    fn end(mut self) -> Box<[u8]> {
        // SAFETY: dropped here and nowhere else: `self` ends.
        unsafe { ManuallyDrop::drop(&mut self.mapping) };
        // SAFETY: leaked by `new`; the mapping, which alone referred to it, is gone.
        unsafe { Box::from_raw(self.buffer.as_ptr()) }
    }
}

impl Open {
    /// Ends it; returns the buffer that it worked on.
    fn end(mut self) -> Option<Box<[u8]>> {
        // SAFETY: nobody destroys a pool in use but a forked child, whose one thread this is then.
        if unsafe { POOLS.get(self.pool) }.is_err() {
            return None;
        }
        // SAFETY: taken here and nowhere else: `self` ends.
        match unsafe { ManuallyDrop::take(&mut self.held) } {
            Held::Reader { .. } => None,
            Held::Mapping(mapped) => Some(mapped.end()),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        while let Some(open) = self.open.pop() {
            open.end();
        }
    }
}

/// Uses the thread's stack, which is there until the thread ends.
fn with_stack<R>(call: impl FnOnce(&mut Stack) -> Result<R, zs_result>) -> Result<R, zs_result> {
    OPEN.try_with(|stack| call(&mut stack.borrow_mut()))
        .unwrap_or(Err(ZS_NOT_OPEN))
}

impl Stack {
    /// Where C sees the mapping that was pushed last. Asked for where it lies: until it is taken
    /// out it is moved no more, and a move of the exclusive reference in it would end what was
    /// made of that.
    fn shown(&mut self) -> Result<*mut c_void, zs_result> {
        match self.open.last_mut().map(|open| &mut *open.held) {
            Some(Held::Mapping(mapped)) => Ok(mapped.shown()),
            _ => Err(ZS_NOT_OPEN),
        }
    }

    /// Takes the latest of the thread's that fits out.
    fn take(
        &mut self,
        pool: *const zs_pool,
        handle: zs_handle,
        fits: impl Fn(&Held) -> bool,
    ) -> Result<Open, zs_result> {
        let wanted =
            |open: &Open| ptr::eq(open.pool, pool) && open.handle == handle && fits(&open.held);
        let at = self.open.iter().rposition(wanted).ok_or(ZS_NOT_OPEN)?;
        Ok(self.open.remove(at))
    }
}

/// Opens an object for reading; returns its first `len` bytes, in place or copied to `local_copy`.
///
/// # Safety
/// `local_copy` is NULL or has room for `len` bytes; nobody destroys the pool meanwhile.
pub(super) unsafe fn begin_read(
    name: *const zs_pool,
    handle: zs_handle,
    len: usize,
    local_copy: *mut c_void,
) -> Result<*mut c_void, zs_result> {
    // SAFETY: by this function's contract; nor is a pool destroyed while an object of it is open.
    let pool: &'static CPool = unsafe { find(name) }?;
    let guard = pool.read(handle_of(handle)?)?;
    if len == 0 || len > guard.len() {
        return Err(ZS_TOO_LARGE);
    }
    let (first, second) = (guard.spans().first, guard.spans().second);
    let shown = if len <= first.len() {
        first.as_ptr().cast_mut().cast()
    } else if local_copy.is_null() {
        return Err(ZS_NULL);
    } else {
        let place = local_copy.cast::<u8>();
        // SAFETY: `local_copy` has room for `len` bytes, which is more than these.
        unsafe { ptr::copy_nonoverlapping(first.as_ptr(), place, first.len()) };
        // SAFETY: less than `len` bytes on.
        let place = unsafe { place.add(first.len()) };
        // SAFETY: `len` is at most the object's length, so the second span has as many.
        unsafe { ptr::copy_nonoverlapping(second.as_ptr(), place, len - first.len()) };
        local_copy
    };
    with_stack(|stack| {
        stack.open.push(Open {
            pool: name,
            handle,
            held: ManuallyDrop::new(Held::Reader {
                _guard: guard,
                shown,
                len,
            }),
        });
        Ok(shown)
    })
}

/// Ends the thread's reading that was shown at `at`.
pub(super) fn end_read(
    pool: *const zs_pool,
    handle: zs_handle,
    length: usize,
    at: *const c_void,
) -> Result<(), zs_result> {
    let fits = |held: &Held| match held {
        Held::Reader { shown, len, .. } => ptr::eq(*shown, at) && *len == length,
        Held::Mapping(_) => false,
    };
    let open = with_stack(|stack| stack.take(pool, handle, fits))?;
    open.end();
    Ok(())
}

/// Maps an object in one piece.
///
/// # Safety
/// Nobody destroys the pool meanwhile.
pub(super) unsafe fn map(
    name: *const zs_pool,
    handle: zs_handle,
    mode: MapMode,
) -> Result<*mut c_void, zs_result> {
    // SAFETY: by this function's contract; nor is a pool destroyed while an object of it is open.
    let pool: &'static CPool = unsafe { find(name) }?;
    with_stack(|stack| {
        let needed = pool.geometry().page_size().bytes();
        let spare = stack.spare.take().filter(|spare| spare.len() >= needed);
        let buffer = spare.unwrap_or_else(|| vec![0; needed].into());
        match Mapped::new(pool, handle, mode, buffer) {
            Ok(mapped) => {
                stack.open.push(Open {
                    pool: name,
                    handle,
                    held: ManuallyDrop::new(Held::Mapping(mapped)),
                });
                stack.shown()
            }
            Err((error, buffer)) => {
                stack.spare = Some(buffer);
                Err(error)
            }
        }
    })
}

/// Ends the thread's latest mapping of an object.
pub(super) fn unmap(pool: *const zs_pool, handle: zs_handle) -> Result<(), zs_result> {
    let fits = |held: &Held| matches!(held, Held::Mapping(_));
    let open = with_stack(|stack| stack.take(pool, handle, fits))?;
    let buffer = open.end();
    with_stack(|stack| {
        stack.spare = buffer;
        Ok(())
    })
}
