//! STORE: bytes in.
//!
//! class -> slot -> word published as *filling*, under the class lock -> bytes copied, with no lock
//! held -> word *live*. A mover that meets a filling word lets it be.

use crate::client::Client;
use crate::client_bits::ClientBits;
use crate::error::Error;
use crate::handle_table::{Handle, HandleTable};
use crate::ids::{ClassIndex, WordIndex};
use crate::pool::Pool;
use crate::pool::spans::ByteSpans;
use crate::word::{Place, State, Word};
use zs_mm::ArenaRef;
use zs_sync::{AtomicU64, Ordering, Payload, Peek};

/// The contents of a new object.
pub(crate) enum Contents<'a> {
    Bytes(&'a [u8]),
    Zeros(usize),
}

impl Contents<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Zeros(len) => *len,
        }
    }

    /// Puts the contents into an object's place.
    ///
    /// # Safety
    /// As for [`Payload::write`], for both spans; they are as long as the contents.
    pub(crate) unsafe fn put(&self, payload: &Payload, spans: &ByteSpans) {
        match self {
            // SAFETY: by this function's contract.
            Self::Bytes(bytes) => unsafe { spans.write(payload, bytes) },
            // SAFETY: by this function's contract.
            Self::Zeros(_) => unsafe { spans.zero(payload) },
        }
    }
}

impl<A: ArenaRef> Pool<A, HandleTable> {
    /// Stores a copy of `bytes`; returns a handle to it.
    ///
    /// May commit memory when its class has no free slot; waits only for locks that are held for
    /// a few hundred nanoseconds.
    ///
    /// # Errors
    /// [`Error::ZeroSize`], [`Error::TooLarge`] above the page size, [`Error::NoMemory`].
    pub fn insert(&self, bytes: &[u8]) -> Result<Handle, Error> {
        self.insert_contents(&Contents::Bytes(bytes))
    }

    /// Makes an object of `size` bytes that read as zero; returns a handle to it.
    ///
    /// # Errors
    /// As for [`insert`](Self::insert).
    pub fn allocate(&self, size: usize) -> Result<Handle, Error> {
        self.insert_contents(&Contents::Zeros(size))
    }

    fn insert_contents(&self, contents: &Contents<'_>) -> Result<Handle, Error> {
        self.class_for(contents.len())?;
        self.ensure_not_forked()?;
        let index = self.client.take(self.arena()).or_else(|_| {
            // A page of words may fit where frames are kept back.
            self.drain_old_frames();
            self.release_spares();
            self.client.take(self.arena())
        })?;
        let (generation, free) = self.client.generation_bits_of(index);
        let stored = self.store_contents(index, free, generation, contents);
        let word = stored.inspect_err(|_| self.client.put(self.arena(), index))?;
        // The word is live: only index 2^32 - 1 has no handle, and no table has it.
        self.client.handle(index, word).ok_or(Error::NoMemory)
    }
}

impl<A: ArenaRef, C: Client<Key = WordIndex>> Pool<A, C> {
    /// Stores a copy of `bytes` as the object of word `index`, which holds none: the first of a
    /// client's own words. `empty` is the word as the client last saw it. A word whose last object
    /// was still being freed then, or is now, counts as what it becomes by that, and this waits for
    /// the reader inside (so the calling thread must hold no guard of that object: it would wait
    /// for itself).
    ///
    /// # Errors
    /// As for `insert`; [`Error::Occupied`] if the word holds an object, [`Error::Busy`] if it is
    /// not (or no longer) `empty`, [`Error::Stale`] if there is no such word.
    pub fn store(
        &self,
        index: WordIndex,
        empty: Word,
        bits: ClientBits,
        bytes: &[u8],
    ) -> Result<(), Error> {
        self.class_for(bytes.len())?;
        self.ensure_not_forked()?;
        let cell = self.cell(index).ok_or(Error::Stale)?;
        // A client that looked while the last object was being freed saw that object's word.
        let empty = match empty.state() {
            State::Freeing => self.client.emptied(&self.layout, empty.abandoned()),
            _ => empty,
        };
        let found = self.wait_until_freed(cell);
        if found.has_place() {
            return Err(Error::Occupied);
        }
        if found != empty {
            return Err(Error::Busy);
        }
        let bits = self.layout.place_generation(bits.generation) | Word::flag_bits(bits.flags);
        self.store_contents(index, empty, bits, &Contents::Bytes(bytes))?;
        Ok(())
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Returns the class for `len` bytes.
    pub(crate) fn class_for(&self, len: usize) -> Result<ClassIndex, Error> {
        let max = self.geometry.page_size().bytes();
        self.geometry.lookup(len).ok_or(match len {
            0 => Error::ZeroSize,
            size => Error::TooLarge { size, max },
        })
    }

    /// Makes the object of an empty word; returns its live word.
    fn store_contents(
        &self,
        index: WordIndex,
        empty: Word,
        client_bits: u64,
        contents: &Contents<'_>,
    ) -> Result<Word, Error> {
        let class = self.class_for(contents.len())?;
        let cell = self.cell(index).ok_or(Error::Stale)?;
        let filling = |place: Place| Word::filling(&self.layout, place, client_bits);
        let place = self.take_slot(class, index, contents.len(), |place| {
            // Release: whoever finds this word by the slot's back reference, under the class lock,
            // finds the place. Relaxed on failure: the slot is cleared again.
            cell.compare_exchange(
                empty.0,
                filling(place).0,
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok()
        })?;
        let spans = self.spans(class, place, contents.len());
        // SAFETY: the slot is in use for this word alone, so no other object has these bytes; a
        // filling word is neither read, written, moved nor freed. The frames are attached, so they
        // are committed.
        unsafe { contents.put(self.arena().payload(), &spans) };
        let live = filling(place).live();
        // Release pairs with the Acquire of `pin`: a reader sees the bytes.
        let outcome = cell.compare_exchange(
            filling(place).0,
            live.0,
            Ordering::Release,
            Ordering::Relaxed,
        );
        debug_assert!(outcome.is_ok(), "nobody changes a filling word");
        Ok(live)
    }

    /// Returns the word once it is not being freed any more.
    fn wait_until_freed(&self, cell: &AtomicU64) -> Word {
        let mut backoff = self.backoff();
        loop {
            // Relaxed: the compare-and-swap that follows decides.
            let word = Word(cell.peek(Ordering::Relaxed));
            if word.state() != State::Freeing {
                return word;
            }
            backoff.wait();
        }
    }
}
