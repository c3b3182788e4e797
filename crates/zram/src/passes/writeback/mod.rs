//! WRITEBACK: objects to a file or device, and back.
//!
//! candidate -> marked *picked* -> a place taken -> pinned, its bytes into a record -> up to 32
//! records in one write, four writes at once -> after some thousand records, and at the end: the
//! file synced -> for each: the block's lock; still picked? word -> extent, object freed; used
//! meanwhile? extent freed. A read finds the extent under the block's lock, and verifies the
//! record.
//!
//! The file is in `backing`; `pass` is one writeback: picked, written, switched.
//!
//! # Locking
//!
//! One lock for the extents, and one for the budget, each held for a moment. The backing is set,
//! and taken away by a reset, under a lock that reads and writes share. No block is locked while
//! records are written.

mod pass;

use crate::backing::attached::Attached;
use crate::backing::extents::{Extents, MOST_BYTES};
use crate::backing::file::{BackingFile, read_all};
use crate::backing::lock::lock;
use crate::backing::place::Place;
use crate::backing::record::{Record, units_for};
use crate::block::content::{Extent, UNIT};
use crate::counters::Event;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
pub use pass::{RecordForm, WritebackEnd, WritebackReport, WritebackRequest};
use std::sync::Arc;
use zs_mm::{Backing, wide};

impl<B: Backing> Store<B> {
    /// Gives the store a place to write blocks back to. It stays until a [`reset`](Self::reset). A
    /// bit for each 128 bytes of it, and some 20th of that, is kept in memory, within the
    /// limit. A thread gives storage back that holds nothing any more
    /// ([`BlockFile::punch`](crate::BlockFile::punch)), once a second.
    ///
    /// # Errors
    /// [`Error::Busy`] if it has one; [`Error::Invalid`] if this one is shorter than one block's
    /// record, or longer than 512 GiB (see [`BackingFile::limited_to`]); [`Error::NoMemory`] if
    /// the limit has no room for its bits.
    pub fn set_backing(&self, file: BackingFile) -> Result<(), Error> {
        let units = (file.capacity / wide(UNIT)).min(u32::MAX.into()) as u32;
        let least = usize::from(units_for(self.block_size())) * UNIT;
        if file.capacity < wide(least) || file.capacity > MOST_BYTES {
            return Err(Error::Invalid(format!(
                "a backing of {} bytes: one block needs {least}, and {MOST_BYTES} can be used",
                file.capacity,
            )));
        }
        let mut backing = lock(&self.writeback.backing);
        if backing.is_some() {
            return Err(Error::Busy("the store has a backing: reset it first"));
        }
        let charge = self.arena().charge(Extents::bytes_for(units))?;
        let Some(place) = Place::new(file, units) else {
            self.arena().uncharge(charge);
            return Err(Error::NoMemory);
        };
        *backing = Some(Arc::new(Attached::new(place, charge)));
        Ok(())
    }

    /// Returns how many bytes of records may still be written back; `None` is no bound.
    pub fn writeback_limit(&self) -> Option<u64> {
        *lock(&self.writeback.budget)
    }

    /// Sets that. A writeback takes bytes off it before it writes them, and gives those back that
    /// could not be written.
    pub fn set_writeback_limit(&self, bytes: Option<u64>) {
        *lock(&self.writeback.budget) = bytes;
    }

    /// Returns the record of a block whose lock is held.
    pub(crate) fn read_record(&self, block: BlockIndex, extent: Extent) -> Result<Record, Error> {
        let attached = self.writeback.attached()?;
        let mut buffer = Vec::new();
        let reserved = buffer.try_reserve_exact(extent.bytes());
        reserved.map_err(|_| Error::NoMemory)?;
        buffer.resize(extent.bytes(), 0);
        let offset = u64::from(extent.start) * wide(UNIT);
        read_all(&*attached.place.file.file, &mut buffer, offset)
            .map_err(Error::io("reading a block back"))?;
        self.counters.add(Event::BackingReads, 1);
        Record::parse(buffer, block, extent, attached.salt).map_err(|what| Error::Corrupt {
            block: block.number(),
            what: what.to_owned(),
        })
    }

    /// Frees the extent of a block, which is not used any more.
    pub(crate) fn free_extent(&self, extent: Extent) {
        if let Ok(attached) = self.writeback.attached() {
            attached.place.free(extent);
        }
    }
}
