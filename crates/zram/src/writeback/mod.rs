//! WRITEBACK: objects to a file or device, and back.
//!
//! candidate -> marked *picked* -> pinned, its bytes into a record -> up to 32 records in one write -> for each: the
//! block's lock; still picked? word -> extent, object freed; changed meanwhile? extent freed. A read finds the extent under the
//! block's lock, and verifies the record.
//!
//! | module | responsibility |
//! |---|---|
//! | `file` | the file or device |
//! | `extents` | which parts of it are taken |
//! | `record` | what a block looks like there |
//! | `pass` | one writeback: picked, written, switched |
//!
//! # Locking
//!
//! One lock for the extents, and one for the budget, each held for a moment. The backing is set, and taken away by a reset,
//! under a lock that reads and writes share. No block is locked while records are written.

mod extents;
mod file;
mod pass;
mod record;

use crate::content::Extent;
use crate::counters::Event;
use crate::error::Error;
use crate::store::Store;
use extents::Extents;
pub(crate) use extents::UNIT;
use file::read_all;
pub use file::{BackingFile, BlockFile};
pub use pass::{RecordForm, WritebackEnd, WritebackReport, WritebackRequest};
use record::Record;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use zs_mm::{Arena, Backing, Charge};

/// A store's backing, and what may be written to it.
#[derive(Debug, Default)]
pub(crate) struct Writeback {
    backing: Mutex<Option<Arc<Attached>>>,
    /// Bytes that may still be written; no bound without.
    budget: Mutex<Option<u64>>,
    /// One pass over the store at a time.
    pass: Mutex<()>,
}

/// A backing in use.
#[derive(Debug)]
pub(crate) struct Attached {
    file: BackingFile,
    extents: Mutex<Extents>,
    charge: Mutex<Option<Charge>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writeback {
    fn attached(&self) -> Result<Arc<Attached>, Error> {
        lock(&self.backing).clone().ok_or(Error::NoBacking)
    }

    /// Begins a pass that changes how blocks are stored.
    pub(crate) fn begin_pass(&self) -> Result<MutexGuard<'_, ()>, Error> {
        match self.pass.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Error::Busy("a recompression or writeback is under way"))
            }
        }
    }

    /// Takes bytes off the budget; false if there are not so many.
    fn debit(&self, bytes: u64) -> bool {
        let mut budget = lock(&self.budget);
        match budget.as_mut() {
            None => true,
            Some(left) => left.checked_sub(bytes).map(|rest| *left = rest).is_some(),
        }
    }

    fn refund(&self, bytes: u64) {
        if let Some(left) = lock(&self.budget).as_mut() {
            *left = left.saturating_add(bytes);
        }
    }

    /// Lets the backing go, of which nothing is used any more. The caller has begun a pass.
    pub(crate) fn forget<B: Backing>(&self, arena: &Arena<B>) {
        if let Some(attached) = lock(&self.backing).take()
            && let Some(charge) = lock(&attached.charge).take()
        {
            arena.uncharge(charge);
        }
        *lock(&self.budget) = None;
    }

    /// Bytes used, and bytes there are; zeros without a backing.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let backing = lock(&self.backing);
        backing.as_ref().map_or((0, 0), |attached| {
            let extents = lock(&attached.extents);
            let bytes = |units: u32| u64::from(units) * UNIT as u64;
            (bytes(extents.used()), bytes(extents.units()))
        })
    }
}

impl<B: Backing> Store<B> {
    /// Gives the store a place to write blocks back to. It stays until a [`reset`](Self::reset). A bit for each 128 bytes of
    /// it is kept in memory.
    ///
    /// # Errors
    /// [`Error::Busy`] if it has one, [`Error::Invalid`] if this one is shorter than one block's record,
    /// [`Error::NoMemory`].
    pub fn set_backing(&self, file: BackingFile) -> Result<(), Error> {
        let most = u64::from(u32::MAX - u32::from(u16::MAX));
        let units = (file.capacity / UNIT as u64).min(most) as u32;
        if units < u32::from(record::units_for(self.block_size())) {
            return Err(Error::Invalid(format!(
                "a backing of {} bytes: one block needs {}",
                file.capacity,
                usize::from(record::units_for(self.block_size())) * UNIT
            )));
        }
        let mut backing = lock(&self.writeback.backing);
        if backing.is_some() {
            return Err(Error::Busy("the store has a backing: reset it first"));
        }
        let extents = Extents::new(units).ok_or(Error::NoMemory)?;
        let charge = self.arena().charge(extents.bytes())?;
        *backing = Some(Arc::new(Attached {
            file,
            extents: Mutex::new(extents),
            charge: Mutex::new(Some(charge)),
        }));
        Ok(())
    }

    /// How many bytes of records may still be written back; `None` is no bound.
    pub fn writeback_limit(&self) -> Option<u64> {
        *lock(&self.writeback.budget)
    }

    /// Sets that.
    pub fn set_writeback_limit(&self, bytes: Option<u64>) {
        *lock(&self.writeback.budget) = bytes;
    }

    /// The record of a block whose lock is held.
    pub(crate) fn read_record(&self, block: u32, extent: Extent) -> Result<Record, Error> {
        let attached = self.writeback.attached()?;
        let mut buffer = vec![0; usize::from(extent.units) * UNIT];
        let offset = u64::from(extent.start) * UNIT as u64;
        read_all(&*attached.file.file, &mut buffer, offset)
            .map_err(Error::io("reading a block back"))?;
        self.counters.add(Event::BackingReads, 1);
        Record::parse(buffer, block).map_err(|what| Error::Corrupt {
            block,
            what: what.to_owned(),
        })
    }

    /// The extent of a block is not used any more.
    pub(crate) fn free_extent(&self, extent: Extent) {
        if let Ok(attached) = self.writeback.attached() {
            lock(&attached.extents).free(extent);
        }
    }
}
