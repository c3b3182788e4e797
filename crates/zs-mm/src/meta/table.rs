//! Tables of metadata, committed as they grow.

use crate::backing::{Backing, RegionKind};
use crate::error::Error;
use crate::meta::budget::Budget;
use crate::size::wide;
use core::ops::Range;
use core::ptr::NonNull;
use zs_sync::{AtomicU64, Ordering, Peek, Table, TableCell};

/// A reserved table; what of it is committed is counted in the arena's limit.
///
/// It is used in one of two ways: committed from its start as it grows
/// ([`Arena::ensure`](crate::Arena::ensure)), or in pieces whose owner keeps account of them
/// ([`Arena::commit_cells`](crate::Arena::commit_cells) and `decommit_cells`).
///
/// Made and grown by its [`Arena`](crate::Arena), and given back to it; a table that is merely
/// dropped keeps its memory for ever.
#[derive(Debug)]
#[must_use = "a table that is dropped, not released, keeps its memory"]
pub struct MetaTable<T> {
    table: Table<T>,
    place: NonNull<u8>,
    reserved: usize,
    /// The arena that made it, and that alone may grow and release it.
    arena: u32,
    /// Bytes that are committed and charged: those from the start, or the sum of the pieces.
    committed: AtomicU64,
}

// SAFETY: `place` is the address of a region that is tied to no thread, and is used only to commit
// and release it; the table itself is `Send` and `Sync`.
unsafe impl<T: TableCell> Send for MetaTable<T> {}
// SAFETY: as above.
unsafe impl<T: TableCell> Sync for MetaTable<T> {}

impl<T: TableCell> Default for MetaTable<T> {
    /// Makes a table without cells or memory.
    fn default() -> Self {
        Self {
            table: Table::default(),
            place: NonNull::dangling(),
            reserved: 0,
            arena: 0,
            committed: AtomicU64::new(0),
        }
    }
}

impl<T: TableCell> MetaTable<T> {
    pub(crate) fn reserve(backing: &dyn Backing, arena: u32, len: usize) -> Result<Self, Error> {
        let granule = backing.granule();
        let reserved = len
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_next_multiple_of(granule))
            .ok_or(Error::NoMemory)?;
        let place = backing
            .reserve(RegionKind::Table, reserved, granule.max(align_of::<T>()))
            .map_err(|_| Error::NoMemory)?;
        // SAFETY: 1. The region is aligned for a cell, `len` cells fit, and it stays reserved until
        // `release` consumes the table. 2. A table region reads as zeros
        // where it is not committed (the backing's promise 3), and only this value has its address.
        let table = unsafe { Table::from_reserved(place, len) };
        Ok(Self {
            table,
            place,
            reserved,
            arena,
            committed: AtomicU64::new(0),
        })
    }

    /// Commits the table up to and with the cell at `index`.
    ///
    /// Two threads may do so at once: committing twice is harmless, and one of them takes its
    /// charge back.
    pub(crate) fn ensure(
        &self,
        backing: &dyn Backing,
        budget: &Budget,
        index: usize,
    ) -> Result<(), Error> {
        let end = wide(((index + 1) * size_of::<T>()).next_multiple_of(backing.granule()));
        debug_assert!(end <= wide(self.reserved));
        // Acquire pairs with the Release in `publish`: what is found committed may be written to.
        let start = self.committed.peek(Ordering::Acquire);
        if start >= end {
            return Ok(());
        }
        let bytes = end - start;
        if !budget.charge(bytes) {
            return Err(Error::NoMemory);
        }
        // SAFETY: `start` is within the region (`start < end <= reserved`).
        let place = unsafe { self.place.add(start as usize) };
        // SAFETY: both ends are multiples of the granule, and inside this table's region.
        let outcome = unsafe { backing.commit(RegionKind::Table, place, bytes as usize) };
        if outcome.is_err() {
            budget.refund(bytes);
            return Err(Error::NoMemory);
        }
        self.publish(budget, start, end);
        Ok(())
    }

    /// Moves the watermark from `start` to `end`, whose charge is taken and whose memory is
    /// committed. If somebody else moved it meanwhile, what they charged too is refunded.
    fn publish(&self, budget: &Budget, start: u64, end: u64) {
        let mut charged_from = start;
        while charged_from < end {
            // Release pairs with the Acquire in `ensure`.
            let grown = self.committed.compare_exchange(
                charged_from,
                end,
                Ordering::Release,
                Ordering::Relaxed,
            );
            match grown {
                Ok(_) => return,
                Err(found) => {
                    budget.refund(found.min(end) - charged_from);
                    charged_from = found.min(end);
                }
            }
        }
    }

    /// Commits a piece of which nothing is committed.
    pub(crate) fn commit_cells(
        &self,
        backing: &dyn Backing,
        budget: &Budget,
        cells: Range<usize>,
    ) -> Result<(), Error> {
        let (place, bytes) = self.piece(backing, cells);
        if !budget.charge(wide(bytes)) {
            return Err(Error::NoMemory);
        }
        // SAFETY: both ends are multiples of the granule, and inside this table's region.
        let outcome = unsafe { backing.commit(RegionKind::Table, place, bytes) };
        if outcome.is_err() {
            budget.refund(wide(bytes));
            return Err(Error::NoMemory);
        }
        // Relaxed: a sum; the owner publishes the piece itself.
        self.committed.fetch_add(wide(bytes), Ordering::Relaxed);
        Ok(())
    }

    /// Gives back a piece that is committed as a whole; returns its bytes, or 0 if it was refused.
    pub(crate) fn decommit_cells(
        &self,
        backing: &dyn Backing,
        budget: &Budget,
        cells: Range<usize>,
    ) -> u64 {
        let (place, bytes) = self.piece(backing, cells);
        // SAFETY: 1. As in `commit_cells`. 2. The owner writes to none of the cells meanwhile; a
        // compare-and-swap that fails does no harm in a table (promise 3 of a backing).
        let gone = unsafe { backing.decommit(RegionKind::Table, place, bytes) }.is_ok();
        if !gone {
            return 0;
        }
        // Relaxed: as in `commit_cells`.
        self.committed.fetch_sub(wide(bytes), Ordering::Relaxed);
        budget.refund(wide(bytes));
        wide(bytes)
    }

    /// Returns the memory of some cells: granules that they fill, but for the end of the table.
    fn piece(&self, backing: &dyn Backing, cells: Range<usize>) -> (NonNull<u8>, usize) {
        assert!(
            cells.start < cells.end && cells.end <= self.len(),
            "table cells out of range"
        );
        let (start, end) = (cells.start * size_of::<T>(), cells.end * size_of::<T>());
        debug_assert!(start.is_multiple_of(backing.granule()), "a whole granule");
        let bytes = end.next_multiple_of(backing.granule()) - start;
        // SAFETY: the cells lie in the table, so `start` is within the region.
        (unsafe { self.place.add(start) }, bytes)
    }

    /// Panics if the table is not of this arena. One without memory is anybody's.
    pub(crate) fn assert_of(&self, arena: u32) {
        assert!(
            self.arena == arena || self.reserved == 0,
            "a table of another arena"
        );
    }

    pub(crate) fn release(self, backing: &dyn Backing, budget: &Budget) {
        if self.reserved == 0 {
            return;
        }
        budget.refund(self.committed_bytes());
        // SAFETY: the region came from `reserve` with this kind and length; the table, its only
        // user, is consumed here.
        unsafe { backing.release(RegionKind::Table, self.place, self.reserved) };
    }

    /// Returns the cell at `index`, or `None` beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.table.get(index)
    }

    /// Returns the cell at `index`.
    ///
    /// # Panics
    /// If `index` is beyond the end.
    #[inline]
    #[track_caller]
    pub fn at(&self, index: usize) -> &T {
        self.table.at(index)
    }

    /// Returns the number of cells.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Says whether the table has no cells.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Returns the number of bytes that are committed, and counted in the arena's limit.
    pub fn committed_bytes(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }
}
