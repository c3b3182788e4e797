//! Streams for as many threads as compress at once.
//!
//! # Locking
//! One lock a stream, held while its guard lives; no other lock is taken below it. A thread goes to the slot that it
//! had last, and so takes an uncontended lock in its own cache line, unless more threads than slots are at work.

use std::{
    cell::Cell,
    num::NonZeroUsize,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{Algorithm, Dictionary, Error, Stream};

thread_local! {
    /// The slot that this thread tries first, modulo the number of slots.
    static SLOT: Cell<usize> = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: only a number unlike the last ones is wanted; nothing is published with it.
        Cell::new(NEXT.fetch_add(1, Ordering::Relaxed))
    };
}

/// Streams of one algorithm, lent to whichever threads ask.
#[derive(Debug)]
pub struct Streams {
    slots: Box<[Slot]>,
}

/// Apart from its neighbours, so that borrowers do not share a cache line (nor the pair that is fetched together).
#[derive(Debug)]
#[repr(align(128))]
struct Slot(Mutex<Stream>);

impl Streams {
    /// Makes `count` streams for pages of up to `page_len` bytes: as many as threads are to compress at once. All
    /// memory is taken here, `count` times what [`Stream`] tells.
    ///
    /// # Errors
    /// As [`Stream::new`].
    pub fn new(algorithm: Algorithm, page_len: usize, count: NonZeroUsize) -> Result<Self, Error> {
        Self::with_dictionary(algorithm, page_len, count, None)
    }

    /// The same, each with a dictionary.
    ///
    /// # Errors
    /// As [`Stream::with_dictionary`].
    pub fn with_dictionary(
        algorithm: Algorithm,
        page_len: usize,
        count: NonZeroUsize,
        dictionary: Option<&Dictionary>,
    ) -> Result<Self, Error> {
        let slot = |_| {
            Stream::with_dictionary(algorithm, page_len, dictionary)
                .map(|stream| Slot(Mutex::new(stream)))
        };
        let slots = (0..count.get()).map(slot).collect::<Result<_, _>>()?;
        Ok(Self { slots })
    }

    /// Borrows a stream until the guard is dropped. Allocates nothing.
    ///
    /// If every stream is lent, blocks until the one that this thread had last comes back, though another may be back
    /// earlier. A thread that holds a guard should not ask for another: if it waits, it may wait for itself.
    pub fn lock(&self) -> MutexGuard<'_, Stream> {
        let own = SLOT.get() % self.slots.len();
        for slot in (own..self.slots.len()).chain(0..own) {
            // A stream survives its user's panic: no call depends on how an earlier one ended.
            match self.slots[slot].0.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                Ok(stream) => return keep(slot, stream),
                Err(TryLockError::Poisoned(poisoned)) => return keep(slot, poisoned.into_inner()),
            }
        }
        self.slots[own]
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the thread come back to this slot: two whose numbers collide part once and for all.
fn keep(slot: usize, stream: MutexGuard<'_, Stream>) -> MutexGuard<'_, Stream> {
    SLOT.set(slot);
    stream
}
