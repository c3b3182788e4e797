//! Every object.

use crate::arena::own;
use crate::border::{Out, answer};
use crate::object::zs_handle;
use crate::pool::{find, zs_pool_t};
use crate::result::zs_result;
use crate::result::zs_result::ZS_NULL;
use crate::view::{spans_of, zs_spans};
use core::ffi::{c_int, c_void};

/// Called with each object: the context that was handed in, its handle, and its bytes, which are
/// valid until it returns. 0 goes on; anything else visits no more. It may use the pool, and free
/// the object; it must return, neither by a C++ exception nor by `longjmp`.
pub type zs_visit_fn = Option<
    unsafe extern "C" fn(context: *mut c_void, handle: zs_handle, bytes: *const zs_spans) -> c_int,
>;

/// Calls `visit` with every object that can be read, in no order that means anything; `skipped`, if
/// not NULL, becomes how many could not (mapped for writing, or full of readers). An object that
/// lives throughout is visited once; one that is inserted or freed meanwhile, at most once.
///
/// Takes time for every object that the pool ever held at once, also after `visit` has ended it.
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions (see `docs/c.md`); `visit` keeps to what its type says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pool_for_each(
    pool: *mut zs_pool_t,
    visit: zs_visit_fn,
    context: *mut c_void,
    skipped: *mut u64,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let pool = unsafe { find(pool) }?;
        let visit = visit.ok_or(ZS_NULL)?;
        own(pool.arena())?;
        let mut ended = false;
        let left = pool.for_each(|handle, guard| {
            if !ended {
                let bytes = spans_of(guard.spans());
                // SAFETY: by this function's contract; the bytes stay while the guard lives.
                ended = unsafe { visit(context, handle.to_bits(), &raw const bytes) } != 0;
            }
        });
        // SAFETY: by this function's contract.
        if let Some(place) = unsafe { Out::optional(skipped) } {
            place.set(left);
        }
        Ok(())
    })
}
