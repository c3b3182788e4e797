//! A reserved range of cells.

use crate::{AtomicU32, AtomicU64, Dual32, Guarded32, Guarded64};
use core::fmt;
use core::ptr::NonNull;

/// What a [`Table`] can hold: a cell for which all-zero bytes are the value 0.
///
/// # Safety
/// Zeroed memory is a valid value of the type, equal to its default, and every method works through
/// a shared reference (it is made of atomics, or of wrappers of them).
pub unsafe trait TableCell: Default + Send + Sync {}

// SAFETY: an atomic integer has the layout of its integer, and 0 is a value of it.
unsafe impl TableCell for AtomicU32 {}
// SAFETY: as for `AtomicU32`.
unsafe impl TableCell for AtomicU64 {}
// SAFETY: a transparent wrapper of `AtomicU32`.
unsafe impl TableCell for Guarded32 {}
// SAFETY: a transparent wrapper of `AtomicU64`.
unsafe impl TableCell for Guarded64 {}
// SAFETY: a transparent wrapper of `AtomicU32`.
unsafe impl TableCell for Dual32 {}

/// Two cells side by side.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Pair<A, B>(pub A, pub B);

// SAFETY: zeroed memory is a valid value of both cells, and so of the pair; padding may have any
// value.
unsafe impl<A: TableCell, B: TableCell> TableCell for Pair<A, B> {}

/// A fixed number of cells at a fixed place, in memory that somebody else reserved.
///
/// Which parts of the range are committed is the owner's business. A part that is not reads as
/// zeros; writing there without committing first is a bug (the strict backing of `zs-os` faults).
///
/// # Invariants
/// `cells` points at `len` cells, readable for the life of the value, zero until first written.
pub struct Table<T> {
    #[cfg(not(zs_loom))]
    cells: NonNull<T>,
    #[cfg(zs_loom)]
    cells: Vec<T>,
    len: usize,
}

// SAFETY: the table is a shared view of cells that are themselves `Sync` (`TableCell` requires
// it), and it owns nothing that is tied to a thread.
#[cfg(not(zs_loom))]
unsafe impl<T: TableCell> Send for Table<T> {}
// SAFETY: see above; a `&Table` gives out nothing but `&T`.
#[cfg(not(zs_loom))]
unsafe impl<T: TableCell> Sync for Table<T> {}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("len", &self.len).finish()
    }
}

impl<T> Default for Table<T> {
    /// Makes a table without cells.
    fn default() -> Self {
        // INVARIANT: no cell, so any place will do.
        Self {
            #[cfg(not(zs_loom))]
            cells: NonNull::dangling(),
            #[cfg(zs_loom)]
            cells: Vec::new(),
            len: 0,
        }
    }
}

impl<T: TableCell> Table<T> {
    /// Makes a table of `len` cells at `place`. Under loom the cells are loom's own, not at
    /// `place`.
    ///
    /// # Safety
    /// 1. `place` is aligned for `T`, and `len` cells from it lie in one reserved range that stays
    ///    reserved for as long as the table is used.
    /// 2. The range reads as zeros wherever it is not committed, and nobody but this table (and the
    ///    backing, when it commits and decommits) writes to it.
    pub unsafe fn from_reserved(place: NonNull<u8>, len: usize) -> Self {
        debug_assert!(place.cast::<T>().is_aligned());
        // INVARIANT: by the contract above.
        Self {
            #[cfg(not(zs_loom))]
            cells: place.cast(),
            #[cfg(zs_loom)]
            cells: (0..len).map(|_| T::default()).collect(),
            len,
        }
    }

    /// Returns the number of cells.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether the table has no cells.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the cell at `index`, or `None` beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        #[cfg(zs_loom)]
        return self.cells.get(index);
        #[cfg(not(zs_loom))]
        {
            // SAFETY: `index < len`, so the offset stays in the range of the type's invariant.
            let cell = unsafe { self.cells.add(index) };
            // SAFETY: the invariant makes every cell valid, and cells are only shared.
            Some(unsafe { cell.as_ref() })
        }
    }

    /// Returns the cell at `index`.
    ///
    /// # Panics
    /// If `index` is beyond the end: the caller's own arithmetic is wrong.
    #[inline]
    #[track_caller]
    #[expect(
        clippy::expect_used,
        reason = "an index computed by the allocator itself"
    )]
    pub fn at(&self, index: usize) -> &T {
        self.get(index).expect("table index in range")
    }
}
