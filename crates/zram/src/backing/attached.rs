//! A store's backing, and the bounds of what is written to it.

use super::lock::lock;
use super::place::Place;
use super::record::ROUNDS;
use crate::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;
use zs_mm::{Arena, Backing, Charge};
use zs_os::PeriodicThread;

/// The time between two rounds of punching holes.
const PUNCH_EVERY: Duration = Duration::from_secs(1);

/// How long a store that lets its backing go waits for a hole that is being punched. Mostly it is
/// over by then, and the file closed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A store's backing, and what may be written to it.
#[derive(Debug, Default)]
pub(crate) struct Writeback {
    pub(crate) backing: Mutex<Option<Arc<Attached>>>,
    /// Bytes that may still be written; no bound without.
    pub(crate) budget: Mutex<Option<u64>>,
    /// One pass of each kind at a time.
    passes: [Mutex<()>; 2],
}

/// Passes that change how blocks are stored. They may meet: each change is made under its block's
/// lock, and whoever stores a block anew takes its mark away.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pass {
    Recompress,
    Writeback,
}

/// The numbers that all records of one writeback carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) salt: u32,
    pub(crate) round: u16,
}

/// A backing in use.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) place: Arc<Place>,
    charge: Mutex<Option<Charge>>,
    /// In the checksums of this use of the file.
    pub(crate) salt: u32,
    rounds: AtomicU32,
    /// Punches holes; without it the file keeps its space.
    puncher: Option<PeriodicThread>,
}

impl Attached {
    pub(crate) fn new(place: Place, charge: Charge) -> Self {
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

    pub(crate) fn next_round(&self) -> Stamp {
        // Relaxed: only a number unlike the last ones is wanted.
        let round = self.rounds.fetch_add(1, Ordering::Relaxed) as u16 % ROUNDS;
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

impl Writeback {
    pub(crate) fn attached(&self) -> Result<Arc<Attached>, Error> {
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
    pub(crate) fn debit(&self, bytes: u64) -> bool {
        let mut budget = lock(&self.budget);
        match budget.as_mut() {
            None => true,
            Some(left) => left.checked_sub(bytes).map(|rest| *left = rest).is_some(),
        }
    }

    pub(crate) fn refund(&self, bytes: u64) {
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
