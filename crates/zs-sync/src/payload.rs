//! A reserved range of raw bytes: the frames' contents.
//!
//! Shared bytes never become `&mut [u8]`: writers copy in, readers borrow only what nobody may
//! write meanwhile. One function checks the bounds. Under loom every access is also recorded in a
//! tracked cell per 32 bytes, so that two accesses which nothing orders are reported. In a seeded
//! schedule a write is done in two halves, with a point between them.

use core::fmt;
use core::ptr::NonNull;

/// The payload of an arena: `len` bytes from `base`.
///
/// # Invariants
/// The range stays reserved for the life of the value. What is not committed must not be touched;
/// that is part of each method's contract.
pub struct Payload {
    base: NonNull<u8>,
    len: usize,
    #[cfg(zs_loom)]
    tracker: tracker::Tracker,
}

// SAFETY: the range is plain memory without any tie to a thread; who may touch which bytes is the
// contract of each unsafe method.
unsafe impl Send for Payload {}
// SAFETY: see above.
unsafe impl Sync for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("len", &self.len).finish()
    }
}

impl Payload {
    /// Returns the `len` bytes from `base`.
    ///
    /// # Safety
    /// The range is one reserved range that stays reserved for as long as the value is used.
    pub unsafe fn from_reserved(base: NonNull<u8>, len: usize) -> Self {
        // INVARIANT: by the contract above.
        Self {
            base,
            len,
            #[cfg(zs_loom)]
            tracker: tracker::Tracker::default(),
        }
    }

    /// Returns the one bounds check: the address of `len` bytes at `offset`.
    #[inline]
    #[track_caller]
    fn place(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(
            offset <= self.len && len <= self.len - offset,
            "payload access out of bounds"
        );
        // SAFETY: `offset <= self.len`, so the result is in the reserved range or one past it.
        unsafe { self.base.add(offset) }
    }

    /// Asks for the cache line at `offset`, which will be used soon: see
    /// [`prefetch`](crate::prefetch). Of an offset out of bounds, which a guess may be, nothing
    /// comes.
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        if offset >= self.len {
            return;
        }
        let place = self.place(offset, 1);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as in `prefetch::prefetch`; the memory behind the address need not exist.
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(
                place.as_ptr().cast(),
            );
        };
        #[cfg(not(target_arch = "x86_64"))]
        let _ = place;
    }

    /// Borrows `len` bytes at `offset`.
    ///
    /// # Safety
    /// For as long as the slice lives: the bytes are committed, initialised or zero, and nobody
    /// writes to them.
    ///
    /// # Panics
    /// If the range is out of bounds.
    #[inline]
    pub unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        let place = self.place(offset, len);
        #[cfg(zs_loom)]
        self.tracker.read(offset, len);
        #[cfg(zs_schedule)]
        crate::schedule::access(place.addr().get(), len, false);
        // SAFETY: 1. `place` checked the bounds. 2. Committed and unwritten meanwhile by contract.
        unsafe { core::slice::from_raw_parts(place.as_ptr(), len) }
    }

    /// Copies `source` to `offset`.
    ///
    /// # Safety
    /// The destination is committed, and nobody else reads or writes it during the call.
    ///
    /// # Panics
    /// If the range is out of bounds.
    #[inline]
    pub unsafe fn write(&self, offset: usize, source: &[u8]) {
        let place = self.place(offset, source.len());
        #[cfg(zs_loom)]
        self.tracker.write(offset, source.len());
        #[cfg(zs_schedule)]
        let (place, source) = {
            let (start, half) = (place.addr().get(), source.len() / 2);
            crate::schedule::access(start, source.len(), true);
            // SAFETY: as below, for the first half.
            unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), place.as_ptr(), half) };
            crate::schedule::access(start, source.len(), true);
            // SAFETY: within the range that `place` checked.
            (unsafe { place.add(half) }, &source[half..])
        };
        // SAFETY: 1. `place` checked the bounds. 2. The destination is this caller's alone, by
        // contract, so `source`, which is readable, cannot overlap it.
        unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), place.as_ptr(), source.len()) };
    }

    /// Zeroes `len` bytes at `offset`.
    ///
    /// # Safety
    /// As for [`write`](Self::write).
    ///
    /// # Panics
    /// If the range is out of bounds.
    #[inline]
    pub unsafe fn zero(&self, offset: usize, len: usize) {
        let place = self.place(offset, len);
        #[cfg(zs_loom)]
        self.tracker.write(offset, len);
        #[cfg(zs_schedule)]
        crate::schedule::access(place.addr().get(), len, true);
        // SAFETY: `place` checked the bounds, and the bytes are this caller's alone by contract.
        unsafe { core::ptr::write_bytes(place.as_ptr(), 0, len) };
    }
}

#[cfg(zs_loom)]
#[expect(clippy::unwrap_used, reason = "a poisoned lock ends the model run")]
mod tracker {
    use std::collections::HashMap;
    use std::fmt;
    use std::sync::{Arc, Mutex};

    const GRANULE: usize = 32;

    /// One tracked cell for each granule that was ever touched, made at its first access: a whole
    /// frame of cells would outweigh the model. The first access is always the insert's write.
    #[derive(Default)]
    pub(super) struct Tracker(Mutex<HashMap<usize, Arc<Cell>>>);

    struct Cell(loom::cell::UnsafeCell<()>);

    // SAFETY: the cell holds nothing; loom itself orders and reports the accesses.
    unsafe impl Sync for Cell {}
    // SAFETY: as above.
    unsafe impl Send for Cell {}

    impl fmt::Debug for Tracker {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Tracker")
        }
    }

    impl Tracker {
        fn cells(&self, offset: usize, len: usize) -> Vec<Arc<Cell>> {
            let mut cells = self.0.lock().unwrap();
            (offset / GRANULE..(offset + len).div_ceil(GRANULE))
                .map(|granule| {
                    let cell = || Arc::new(Cell(loom::cell::UnsafeCell::new(())));
                    Arc::clone(cells.entry(granule).or_insert_with(cell))
                })
                .collect()
        }

        pub(super) fn read(&self, offset: usize, len: usize) {
            for cell in self.cells(offset, len) {
                cell.0.with(|_| ());
            }
        }

        pub(super) fn write(&self, offset: usize, len: usize) {
            for cell in self.cells(offset, len) {
                cell.0.with_mut(|_| ());
            }
        }
    }
}
