//! What an arena does for the owners of tables: metadata reserved, committed, counted, given back.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::error::Error;
use crate::meta::budget::Charge;
use crate::meta::table::MetaTable;
use core::ops::Range;
use zs_sync::{TableCell, assert_may_block};

impl<B: Backing> Arena<B> {
    /// Reserves a table of `len` cells, nothing of it committed.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the address space cannot be reserved.
    pub fn reserve_table<T: TableCell>(&self, len: usize) -> Result<MetaTable<T>, Error> {
        MetaTable::reserve(&self.backing, self.id, len)
    }

    /// Commits a table of this arena up to and with the cell at `index`. May call the backing, and
    /// gives cached frames back first if the limit asks for it.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached or the backing refuses.
    ///
    /// # Panics
    /// If `index` is beyond the end of the table, or the table is another arena's.
    pub fn ensure<T: TableCell>(&self, table: &MetaTable<T>, index: usize) -> Result<(), Error> {
        assert_may_block();
        assert!(index < table.len(), "table index out of range");
        table.assert_of(self.id);
        table
            .ensure(&self.backing, &self.budget, index)
            .or_else(|_| {
                self.give_cached_back();
                table.ensure(&self.backing, &self.budget, index)
            })
    }

    /// Commits cells of a table of this arena that is committed in pieces (see [`MetaTable`]):
    /// whole granules, of which nothing is committed. May call the backing, and gives cached
    /// frames back first if the limit asks for it.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached or the backing refuses.
    ///
    /// # Panics
    /// If the range is beyond the end of the table, or the table is another arena's.
    pub fn commit_cells<T: TableCell>(
        &self,
        table: &MetaTable<T>,
        cells: Range<usize>,
    ) -> Result<(), Error> {
        assert_may_block();
        table.assert_of(self.id);
        let commit = || table.commit_cells(&self.backing, &self.budget, cells.clone());
        commit().or_else(|_| {
            self.give_cached_back();
            commit()
        })
    }

    /// Gives the memory of such cells back: they read as zeros then. Returns the bytes; if it is 0,
    /// the system refused, and each cell is as it was or zero. Calls the backing.
    ///
    /// # Panics
    /// If the range is beyond the end of the table, or the table is another arena's.
    pub fn decommit_cells<T: TableCell>(&self, table: &MetaTable<T>, cells: Range<usize>) -> u64 {
        assert_may_block();
        table.assert_of(self.id);
        table.decommit_cells(&self.backing, &self.budget, cells)
    }

    /// Returns the number of bytes that are committed, and given back, together.
    pub fn granule(&self) -> usize {
        self.backing.granule()
    }

    /// Releases a table of this arena.
    ///
    /// # Panics
    /// If the table is another arena's.
    pub fn release_table<T: TableCell>(&self, table: MetaTable<T>) {
        table.assert_of(self.id);
        table.release(&self.backing, &self.budget);
    }

    /// Counts `bytes` that lie outside the arena against its limit. Gives cached frames back first
    /// if the limit asks for it.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the limit is reached.
    pub fn charge(&self, bytes: u64) -> Result<Charge, Error> {
        if !self.budget.charge(bytes) {
            self.give_cached_back();
            if !self.budget.charge(bytes) {
                return Err(Error::NoMemory);
            }
        }
        Ok(Charge {
            bytes,
            arena: self.id,
        })
    }

    /// Takes a charge back.
    ///
    /// # Panics
    /// If the charge is another arena's.
    pub fn uncharge(&self, charge: Charge) {
        assert_eq!(charge.arena, self.id, "a charge of another arena");
        self.budget.refund(charge.bytes);
    }
}
