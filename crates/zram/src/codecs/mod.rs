//! The store's algorithms: the primary one, and up to three to recompress with.
//!
//! priority -> codec -> a stream, lent to the calling thread. The first stream of each, and its
//! dictionary, are made and counted with the algorithm; more are made when all are lent, as long as
//! all those together take no more than a sixteenth of the memory limit. Else a thread waits for a
//! stream: so nothing fails for want of one.

pub(crate) mod padding;
pub(crate) mod same;
pub(crate) mod scratch;

use crate::block::content::{ALGORITHMS, MAX_PRIORITY};
use crate::ids::as_index;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use zcomp::{Algorithm, Dictionary, Streams};
use zs_mm::Charge;

/// The secondary algorithms that are set: a bit for each, that of priority 1 lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secondaries(pub(crate) u8);

/// One algorithm with its streams. Fixed once set: stored blocks are read by it.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) algorithm: Algorithm,
    pub(crate) dictionary: Option<Dictionary>,
    pub(crate) streams: Streams,
}

#[derive(Debug)]
pub(crate) struct Codecs {
    pub(crate) slots: [OnceLock<Codec>; ALGORITHMS],
    pub(crate) threads: NonZeroUsize,
    counted: Mutex<Counted>,
    /// A hint that the reserve was used up, and nobody is about to use it: who frees memory looks
    /// at it without the lock.
    pub(crate) lacks_reserve: AtomicBool,
}

/// The charges for streams, and for the frames that recompression needs at the limit.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) charges: Vec<Charge>,
    pub(crate) reserve: Option<Charge>,
    /// Bytes of streams beyond the first ones.
    pub(crate) grown: u64,
}

impl Codecs {
    pub(crate) fn new(threads: Option<NonZeroUsize>) -> Self {
        let threads = threads
            .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        Self {
            slots: [const { OnceLock::new() }; 4],
            threads,
            counted: Mutex::default(),
            lacks_reserve: AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self, number: u8) -> Option<&Codec> {
        self.slots.get(as_index(number))?.get()
    }

    /// Returns the secondary algorithms that are set.
    pub(crate) fn secondaries(&self) -> Secondaries {
        let set = (1..=MAX_PRIORITY).filter(|number| self.get(*number).is_some());
        Secondaries(set.map(|number| 1 << (number - 1)).sum())
    }

    /// Locks what the arena counts.
    pub(crate) fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
