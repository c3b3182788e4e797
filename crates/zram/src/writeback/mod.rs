//! WRITEBACK: objects to a file or device, and back.
//!
//! candidate -> marked *picked* -> a place taken -> pinned, its bytes into a record -> up to 32 records in one write, four writes
//! at once -> after some thousand records, and at the end: the file synced -> for each: the block's lock; still picked? word ->
//! extent, object freed; used meanwhile? extent freed. A read finds the extent under the block's lock, and verifies the record.
//!
//! | module | responsibility |
//! |---|---|
//! | `file` | the file or device |
//! | `place` | the file in use: parts taken and freed, holes punched |
//! | `punching` | the hole under way, which outlives a store |
//! | `extents`, `dead` | which parts are taken, and which hold nothing any more |
//! | `record` | what a block looks like there |
//! | `pass` | one writeback: picked, written, switched |
//! | `writers` | the threads that write |
//!
//! # Locking
//!
//! One lock for the extents, and one for the budget, each held for a moment. The backing is set, and taken away by a reset,
//! under a lock that reads and writes share. No block is locked while records are written.

mod dead;
mod extents;
mod file;
mod pass;
mod place;
mod punching;
mod record;
mod writers;

use crate::content::Extent;
use crate::counters::Event;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
pub(crate) use extents::UNIT;
use extents::{Extents, MOST_BYTES};
use file::read_all;
pub use file::{BackingFile, BlockFile, FileId};
pub use pass::{RecordForm, WritebackEnd, WritebackReport, WritebackRequest};
use place::Place;
use record::Record;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;
use zs_mm::{Arena, Backing, Charge};
use zs_os::PeriodicThread;

/// How often holes are punched.
const PUNCH_EVERY: Duration = Duration::from_secs(1);

/// How long a store that lets its backing go waits for a hole that is being punched. Mostly it is
/// over by then, and the file closed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A store's backing, and what may be written to it.
#[derive(Debug, Default)]
pub(crate) struct Writeback {
    backing: Mutex<Option<Arc<Attached>>>,
    /// Bytes that may still be written; no bound without.
    budget: Mutex<Option<u64>>,
    /// One pass of each kind at a time.
    passes: [Mutex<()>; 2],
}

/// Passes that change how blocks are stored. They may meet: each change is made under its block's lock, and whoever stores
/// a block anew takes its mark away.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pass {
    Recompress,
    Writeback,
}

/// What the records of one writeback have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    salt: u32,
    round: u16,
}

/// A backing in use.
#[derive(Debug)]
pub(crate) struct Attached {
    place: Arc<Place>,
    charge: Mutex<Option<Charge>>,
    /// In the checksums of this use of the file.
    salt: u32,
    rounds: AtomicU32,
    /// Punches holes; without it the file keeps its space.
    puncher: Option<PeriodicThread>,
}

impl Attached {
    fn new(place: Place, charge: Charge) -> Self {
        let place = Arc::new(place);
        let puncher = PeriodicThread::spawn("zram-holes", PUNCH_EVERY, {
            let place = Arc::clone(&place);
            move |stop| place.punch(|| !stop.is_asked())
        });
        Self {
            place,
            charge: Mutex::new(Some(charge)),
            salt: RandomState::new().hash_one(0) as u32,
            rounds: AtomicU32::new(0),
            puncher: puncher.ok(),
        }
    }

    fn next_round(&self) -> Stamp {
        // Relaxed: only a number unlike the last ones is wanted.
        let round = self.rounds.fetch_add(1, Ordering::Relaxed) as u16 % record::ROUNDS;
        Stamp {
            salt: self.salt,
            round,
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // A punch that hangs must not hold up a reset, or the end of a server: the thread ends
        // behind it, and what it punches stays taken (`punching`).
        if let Some(puncher) = self.puncher.take()
            && !puncher.end_within(PATIENCE)
        {
            self.place.clear();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writeback {
    fn attached(&self) -> Result<Arc<Attached>, Error> {
        lock(&self.backing).clone().ok_or(Error::NoBacking)
    }

    /// Begins a pass.
    pub(crate) fn begin(&self, pass: Pass) -> Result<MutexGuard<'_, ()>, Error> {
        match self.passes[pass as usize].try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::Busy(match pass {
                Pass::Recompress => "a recompression is under way",
                Pass::Writeback => "a writeback is under way",
            })),
        }
    }

    /// Keeps all passes away.
    pub(crate) fn begin_pass(&self) -> Result<[MutexGuard<'_, ()>; 2], Error> {
        Ok([self.begin(Pass::Recompress)?, self.begin(Pass::Writeback)?])
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
        // Without the lock: whoever lets it go waits for a hole that is being punched, if not long.
        let attached = lock(&self.backing).take();
        if let Some(attached) = attached
            && let Some(charge) = lock(&attached.charge).take()
        {
            arena.uncharge(charge);
        }
    }

    /// Returns the bytes used, and bytes there are; zeros without a backing.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let backing = lock(&self.backing);
        backing
            .as_ref()
            .map_or((0, 0), |attached| attached.place.usage())
    }
}

impl<B: Backing> Store<B> {
    /// Gives the store a place to write blocks back to. It stays until a [`reset`](Self::reset). A bit for each 128 bytes of
    /// it, and some 20th of that, is kept in memory, within the limit. A thread gives storage back that holds nothing
    /// any more ([`BlockFile::punch`]), once a second.
    ///
    /// # Errors
    /// [`Error::Busy`] if it has one; [`Error::Invalid`] if this one is shorter than one block's record, or longer than
    /// 512 GiB (see [`BackingFile::limited_to`]); [`Error::NoMemory`] if the limit has no room for its bits.
    pub fn set_backing(&self, file: BackingFile) -> Result<(), Error> {
        let units = (file.capacity / UNIT as u64).min(u32::MAX.into()) as u32;
        let least = usize::from(record::units_for(self.block_size())) * UNIT;
        if file.capacity < least as u64 || file.capacity > MOST_BYTES {
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

    /// Sets that. A writeback takes bytes off it before it writes them, and gives those back that could not be written.
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
        let offset = u64::from(extent.start) * UNIT as u64;
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
