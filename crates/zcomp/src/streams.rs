//! Streams for as many threads as compress at once, made when they are needed.
//!
//! # Locking
//! One lock a stream, held while its guard lives; no other lock is taken below it. One more while a
//! stream is made, which nobody waits for. A thread goes to the slot that it
//! had last, and so takes an uncontended lock in its own cache line, unless more threads than
//! streams are at work.

use std::{
    cell::Cell,
    num::NonZeroUsize,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
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
    first: Apart<Mutex<Stream>>,
    more: Box<[Apart<OnceLock<Mutex<Stream>>>]>,
    algorithm: Algorithm,
    page_len: usize,
    dictionary: Option<Dictionary>,
    stream_bytes: usize,
    /// One thread makes a stream at a time.
    growing: Mutex<()>,
}

/// Apart from its neighbours, so that borrowers do not share a cache line (nor the pair that is
/// fetched together).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl Streams {
    /// Makes one stream for pages of up to `page_len` bytes, of the `count` that there may be: as
    /// many as threads are to compress at once.
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
        let first = Stream::with_dictionary(algorithm, page_len, dictionary)?;
        Ok(Self {
            stream_bytes: first.memory(),
            first: Apart(Mutex::new(first)),
            more: (1..count.get()).map(|_| Apart::default()).collect(),
            algorithm,
            page_len,
            dictionary: dictionary.cloned(),
            growing: Mutex::new(()),
        })
    }

    /// Returns the number of bytes of memory that each stream takes, as [`Stream::memory`].
    #[must_use]
    pub const fn stream_bytes(&self) -> usize {
        self.stream_bytes
    }

    /// Borrows a stream until the guard is dropped; makes one more if all are lent.
    ///
    /// If there are as many as there may be, or no memory for more, blocks until the one that this
    /// thread had last comes back, though another may be back earlier. A thread that holds a
    /// guard should not ask for another: if it waits, it may wait for itself.
    pub fn lock(&self) -> MutexGuard<'_, Stream> {
        self.lock_if(|_| true)
    }

    /// The same, but asks `may_grow` before it makes a stream more of so many bytes.
    pub fn lock_if(&self, may_grow: impl FnOnce(usize) -> bool) -> MutexGuard<'_, Stream> {
        let slots = self.more.len() + 1;
        let own = SLOT.get() % slots;
        let mut all_made = true;
        for slot in (own..slots).chain(0..own) {
            match self.slot(slot).map(try_lock) {
                Some(Some(stream)) => return keep(slot, stream),
                Some(None) => {}
                None => all_made = false,
            }
        }
        if !all_made && let Some(stream) = self.grow(may_grow) {
            return stream;
        }
        let made = self.slot(own).unwrap_or(&self.first.0);
        made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one stream more; `None` if it may not be, or somebody else is about it.
    #[cold]
    fn grow(&self, may_grow: impl FnOnce(usize) -> bool) -> Option<MutexGuard<'_, Stream>> {
        let _alone = self.growing.try_lock().ok()?;
        let slot = (1..=self.more.len()).find(|slot| self.slot(*slot).is_none())?;
        if !may_grow(self.stream_bytes) {
            return None;
        }
        let dictionary = self.dictionary.as_ref();
        let stream = Stream::with_dictionary(self.algorithm, self.page_len, dictionary).ok()?;
        self.more[slot - 1].0.set(Mutex::new(stream)).ok()?;
        Some(keep(slot, try_lock(self.slot(slot)?)?))
    }

    /// Returns the stream of a slot, if it was made.
    fn slot(&self, slot: usize) -> Option<&Mutex<Stream>> {
        match slot.checked_sub(1) {
            None => Some(&self.first.0),
            Some(other) => self.more[other].0.get(),
        }
    }
}

/// Returns a stream that is not lent.
fn try_lock(stream: &Mutex<Stream>) -> Option<MutexGuard<'_, Stream>> {
    match stream.try_lock() {
        Ok(stream) => Some(stream),
        // It survives its user's panic: no call depends on how an earlier one ended.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Has the thread come back to this slot: two whose numbers collide part once and for all.
fn keep(slot: usize, stream: MutexGuard<'_, Stream>) -> MutexGuard<'_, Stream> {
    SLOT.set(slot);
    stream
}
