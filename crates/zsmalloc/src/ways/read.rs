//! LOAD: bytes out.
//!
//! word -> pin -> (zspage, slot, length) -> one or two spans -> unpin. No lock: while a reader is
//! inside, its object's bytes, record and frames stay as they are.

use crate::client::Client;
use crate::error::Error;
use crate::ids::WordIndex;
use crate::pool::Pool;
use crate::pool::spans::ByteSpans;
use crate::word::{ONE_READER, Refusal, Target, Word};
use core::fmt;
use core::mem::ManuallyDrop;
use zs_mm::{ArenaRef, FrameId, PageSize};
use zs_sync::{AtomicU64, Host, Ordering, Peek, assert_may_block};

/// How often a word is looked at before its holder's thread is given a chance to run: a preempted
/// writer would stall readers for milliseconds otherwise.
const SPINS: u32 = if cfg!(any(zs_loom, zs_schedule)) {
    0
} else {
    200
};

/// Waiting for a bounded copy.
pub(crate) struct Backoff {
    host: &'static dyn Host,
    spins: u32,
}

impl Backoff {
    pub(crate) fn wait(&mut self) {
        assert_may_block();
        if self.spins < SPINS {
            self.spins += 1;
            core::hint::spin_loop();
        } else {
            self.host.yield_now();
        }
    }
}

/// An object's bytes: one slice, or two if it spans frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans<'a> {
    /// The bytes in the first frame, at least one.
    pub first: &'a [u8],
    /// The bytes in the second frame, or none.
    pub second: &'a [u8],
}

/// A reader inside an object: its bytes cannot change or go until this is dropped.
///
/// A guard delays nothing but the end of a free, and makes replaces, writes and maps of this object
/// answer Busy. Dropping it may finish a free, and so take a class lock.
pub struct ReadGuard<'a, A: ArenaRef, C: Client> {
    pool: &'a Pool<A, C>,
    index: WordIndex,
    word: Word,
    spans: ByteSpans,
}

impl<A: ArenaRef, C: Client> fmt::Debug for ReadGuard<'_, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGuard")
            .field("index", &self.index)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Opens an object for reading, without copying it. Several readers may be inside at once.
    ///
    /// Waits for an in-place write of the same object to end (a bounded copy), for nothing else.
    ///
    /// # Errors
    /// [`Error::Stale`]; [`Error::Busy`] if the object is mapped for writing or has
    /// [`MAX_READERS`](crate::MAX_READERS) readers, or, in a forked child, if it was being written
    /// at the fork; [`Error::Forked`] in a child that cannot see the memory.
    #[inline]
    pub fn read(&self, key: C::Key) -> Result<ReadGuard<'_, A, C>, Error> {
        if !self.arena().may_read() {
            return Err(Error::Forked);
        }
        let target = self.client.resolve(key).ok_or(Error::Stale)?;
        // Acquire pairs with the Release that made the word live: the bytes, entries and record.
        let (_, pinned) = self.transition(target, Ordering::Acquire, Word::pinned)?;
        let place = pinned.place(&self.layout);
        let (class, len) = self.class_and_len(place);
        Ok(ReadGuard {
            pool: self,
            index: target.index,
            word: pinned,
            spans: self.spans(class, place, len),
        })
    }

    /// Copies an object into the start of `buffer`; returns its length.
    ///
    /// # Errors
    /// As for [`read`](Self::read); [`Error::BufferTooSmall`] with the length needed.
    #[inline]
    pub fn read_into(&self, key: C::Key, buffer: &mut [u8]) -> Result<usize, Error> {
        self.read(key)?.copy_to(buffer)
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            host: self.host(),
            spins: 0,
        }
    }

    /// Takes a word from one state to the next by the pure function `next`; returns it before and
    /// after. Waits while the word is in use for a bounded copy.
    #[inline]
    pub(crate) fn transition(
        &self,
        target: Target,
        order: Ordering,
        next: impl Fn(Word, Target) -> Result<Word, Refusal>,
    ) -> Result<(Word, Word), Error> {
        let cell = self.cell(target.index).ok_or(Error::Stale)?;
        let mut backoff = self.backoff();
        // Relaxed: the compare-and-swap decides, and carries the ordering.
        let mut seen = Word(cell.peek(Ordering::Relaxed));
        loop {
            match next(seen, target) {
                Ok(after) => {
                    match cell.compare_exchange_weak(seen.0, after.0, order, Ordering::Relaxed) {
                        Ok(_) => return Ok((seen, after)),
                        Err(found) => seen = Word(found),
                    }
                }
                Err(Refusal::Stale) => return Err(Error::Stale),
                Err(Refusal::Busy) => return Err(Error::Busy),
                // Whoever is inside is not in a forked child.
                Err(Refusal::Wait) if self.arena().is_forked() => return Err(Error::Busy),
                Err(Refusal::Wait) => {
                    backoff.wait();
                    seen = Word(cell.peek(Ordering::Relaxed));
                }
            }
        }
    }

    /// Ends a pin, a reader's or a mover's, by the read-modify-write `release`; the last one out of
    /// a freed object finishes the free. Returns the word as it was left.
    #[inline]
    pub(crate) fn unpin(&self, index: WordIndex, release: impl FnOnce(&AtomicU64) -> Word) -> Word {
        let Some(cell) = self.cell(index) else {
            return Word(0);
        };
        let left = release(cell);
        if left.is_abandoned() {
            self.finish_free_of_another(index, left);
        }
        left
    }

    /// Seldom met, and kept out of every reader's way.
    #[cold]
    fn finish_free_of_another(&self, index: WordIndex, left: Word) {
        self.finish_free(index, left);
    }
}

impl<'a, A: ArenaRef, C: Client> ReadGuard<'a, A, C> {
    /// Returns the object's length in bytes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "no object is empty")]
    pub fn len(&self) -> usize {
        self.spans.first.len() + self.spans.second.len()
    }

    /// Returns the object's word as this reader pinned it. No replace commits with a reader inside,
    /// so its place and its client's generation are those of the bytes; flags may have changed
    /// since.
    #[inline]
    pub fn word(&self) -> Word {
        self.word
    }

    /// Ends the reading, as dropping the guard does; returns the object's word as this reader left
    /// it.
    #[inline]
    pub fn leave(self) -> Word {
        ManuallyDrop::new(self).unpin()
    }

    /// Ends the pin. Called once: by `leave` or by the drop.
    #[inline]
    fn unpin(&self) -> Word {
        self.pool.unpin(self.index, |cell| {
            // Release: this reader's reads come before whatever the next owner of the bytes does.
            // Acquire: the last one out sees that all the others have read.
            let before = cell.fetch_sub(ONE_READER, Ordering::AcqRel);
            debug_assert!(Word(before).readers() > 0, "a pinned word has a reader");
            Word(before.wrapping_sub(ONE_READER))
        })
    }

    /// Returns the frames of the object.
    pub(crate) fn frames(&self, page: PageSize) -> (FrameId, Option<FrameId>) {
        let frame = |start: usize| FrameId((start >> page.shift()) as u32);
        let second = (!self.spans.second.is_empty()).then(|| frame(self.spans.second.start));
        (frame(self.spans.first.start), second)
    }

    /// Returns the object's bytes where they are.
    #[inline]
    pub fn spans(&self) -> Spans<'_> {
        let payload = self.pool.arena().payload();
        let (first, second) = (&self.spans.first, &self.spans.second);
        Spans {
            // SAFETY: the pin keeps the object live: nobody writes its bytes, and its frames stay
            // attached, hence committed, until the guard is dropped, which the borrow outlasts.
            first: unsafe { payload.bytes(first.start, first.len()) },
            second: if second.is_empty() {
                &[]
            } else {
                // SAFETY: as for the first span.
                unsafe { payload.bytes(second.start, second.len()) }
            },
        }
    }

    /// Copies the object into the start of `buffer`; returns its length.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] with the length needed; nothing is copied then.
    #[inline]
    pub fn copy_to(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        let needed = self.len();
        let place = buffer
            .get_mut(..needed)
            .ok_or(Error::BufferTooSmall { needed })?;
        let spans = self.spans();
        let (first, second) = place.split_at_mut(spans.first.len());
        first.copy_from_slice(spans.first);
        second.copy_from_slice(spans.second);
        Ok(needed)
    }

    /// Returns the object as one slice: itself, or copied into `buffer` if it spans frames.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] if it has to be copied and does not fit.
    pub fn contiguous<'b>(&'b self, buffer: &'b mut [u8]) -> Result<&'b [u8], Error> {
        let spans = self.spans();
        if spans.second.is_empty() {
            return Ok(spans.first);
        }
        let len = self.copy_to(buffer)?;
        Ok(&buffer[..len])
    }
}

impl<A: ArenaRef, C: Client> Drop for ReadGuard<'_, A, C> {
    #[inline]
    fn drop(&mut self) {
        self.unpin();
    }
}
