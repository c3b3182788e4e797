//! In-place write.
//!
//! word *exclusive*, alone -> bytes copied -> word *live*. Readers and a free wait for that bounded
//! copy, and for nothing else.

use crate::client::Client;
use crate::client_bits::ClientBits;
use crate::error::Error;
use crate::ids::WordIndex;
use crate::pool::Pool;
use crate::word::Word;
use zs_mm::ArenaRef;
use zs_sync::Ordering;

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Overwrites the bytes of an object from `offset` with `bytes`.
    ///
    /// A reader sees all of the write or nothing of it. Waits for another write or a move of the
    /// same object to end (a bounded copy), and while one of its frames is being moved (a batch
    /// of copies): the calling thread must not have isolated that frame, or it would wait for
    /// itself.
    ///
    /// # Errors
    /// [`Error::Stale`]; [`Error::TooLarge`] if the range leaves the object; [`Error::Busy`] with a
    /// reader inside or while mapped for writing.
    pub fn write(&self, key: C::Key, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.overwrite(key, offset, bytes, None)
    }

    /// Works like [`write`](Self::write) from the object's start, and changes the client's bits of
    /// the word in the same moment: whoever finds the new bytes finds the new bits. Needs no
    /// memory.
    ///
    /// # Errors
    /// As for `write`.
    pub fn write_with_bits(
        &self,
        key: C::Key,
        bits: ClientBits,
        bytes: &[u8],
    ) -> Result<(), Error> {
        self.overwrite(key, 0, bytes, Some(bits))
    }

    fn overwrite(
        &self,
        key: C::Key,
        offset: usize,
        bytes: &[u8],
        bits: Option<ClientBits>,
    ) -> Result<(), Error> {
        self.ensure_not_forked()?;
        let target = self.client.resolve(key).ok_or(Error::Stale)?;
        let mut backoff = self.backoff();
        loop {
            // Acquire: the readers that were inside have read (they unpin with Release).
            let (_, exclusive) = self.transition(target, Ordering::Acquire, Word::exclusive)?;
            let place = exclusive.place(&self.layout);
            let (class, len) = self.class_and_len(place);
            let size = offset.saturating_add(bytes.len());
            let outcome = if size > len {
                Some(Err(Error::TooLarge { size, max: len }))
            } else if self.is_being_moved(class, place) {
                None
            } else {
                let part = self.spans(class, place, len).part(offset, bytes.len());
                // SAFETY: an exclusive word lets nobody else in, so the object's bytes are this
                // thread's alone; its frames are attached, hence committed, and nobody moves them:
                // whoever begins to sees the word.
                unsafe { part.write(self.arena().payload(), bytes) };
                Some(Ok(()))
            };
            let live = exclusive.live();
            let live = match (&outcome, bits) {
                (Some(Ok(())), Some(bits)) => live.with_client_bits(&self.layout, bits),
                _ => live,
            };
            self.end_exclusive(target.index, exclusive, live);
            if let Some(outcome) = outcome {
                return outcome;
            }
            backoff.wait();
        }
    }

    /// Ends the hold of an exclusive word, which becomes `after`.
    pub(crate) fn end_exclusive(&self, index: WordIndex, exclusive: Word, after: Word) {
        if let Some(cell) = self.cell(index) {
            // Release pairs with the Acquire of a pin: a reader sees the bytes.
            let outcome =
                cell.compare_exchange(exclusive.0, after.0, Ordering::Release, Ordering::Relaxed);
            debug_assert!(outcome.is_ok(), "nobody changes an exclusive word");
        }
    }
}
