//! Replace: an object move with new bytes.
//!
//! slot of the new class -> bytes copied -> mover's pin -> old class lock: word to the new place,
//! expecting only this pin, old slot cleared. If a reader or a free came in meanwhile, the pin ends
//! and the new slot, which no word ever named, is cleared.

use crate::client::Client;
use crate::client_bits::ClientBits;
use crate::error::Error;
use crate::ids::{ClassIndex, WordIndex};
use crate::pool::Pool;
use crate::ways::insert::Contents;
use crate::word::{MOVER_PIN, Place, Refusal, State, Word};
use zs_mm::ArenaRef;
use zs_sync::{AtomicU64, Ordering, Peek};

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Gives an object new contents of any length, under the same handle; returns the length of the
    /// old ones. Readers see the old bytes or the new ones. On an error the old contents stay.
    ///
    /// Needs memory for the new contents beside the old. Waits for a write or a move of the same
    /// object to end (a bounded copy).
    ///
    /// # Errors
    /// As for `insert`; [`Error::Stale`]; [`Error::Busy`] with a reader inside, or while mapped for
    /// writing.
    pub fn replace(&self, key: C::Key, bytes: &[u8]) -> Result<usize, Error> {
        self.replace_contents(key, None, bytes)
    }

    /// Works like [`replace`](Self::replace), and changes the client's bits of the word in the same
    /// moment: whoever finds the new bytes finds the new bits.
    ///
    /// # Errors
    /// As for `replace`; Busy too if the bits were changed meanwhile.
    pub fn replace_with_bits(
        &self,
        key: C::Key,
        bits: ClientBits,
        bytes: &[u8],
    ) -> Result<usize, Error> {
        self.replace_contents(key, Some(bits), bytes)
    }

    fn replace_contents(
        &self,
        key: C::Key,
        bits: Option<ClientBits>,
        bytes: &[u8],
    ) -> Result<usize, Error> {
        let class = self.class_for(bytes.len())?;
        self.ensure_not_forked()?;
        let target = self.client.resolve(key).ok_or(Error::Stale)?;
        let cell = self.cell(target.index).ok_or(Error::Stale)?;
        // Relaxed: only to spare a slot for what will be refused; the pin decides.
        match Word(cell.peek(Ordering::Relaxed)).moving(target) {
            Err(Refusal::Stale) => return Err(Error::Stale),
            Err(Refusal::Busy) => return Err(Error::Busy),
            Err(Refusal::Wait) | Ok(_) => {}
        }
        // The new slot's back reference leads to a word that names another place: the mark of a
        // move under way, which whoever scans the slot respects.
        let place = self.take_slot(class, target.index, bytes.len(), |_| true)?;
        let spans = self.spans(class, place, bytes.len());
        // SAFETY: the slot is in use for this move alone: no word leads there yet, so nobody reads,
        // writes or frees it. Its frames are attached, hence committed.
        unsafe { Contents::Bytes(bytes).put(self.arena().payload(), &spans) };
        // Acquire: the word's place and record. Pinned last, so that whoever waits for a mover
        // waits for the commit alone.
        let (_, pinned) = self
            .transition(target, Ordering::Acquire, Word::moving)
            .inspect_err(|_| self.discard(class, place))?;
        let moved = pinned.moved(&self.layout, place);
        let moved = bits.map_or(moved, |bits| moved.with_client_bits(&self.layout, bits));
        self.commit_move(cell, target.index, pinned, moved, class)
    }

    /// Works like [`replace`](Self::replace), but waits for readers and maps to go instead of
    /// answering Busy. The calling thread must hold no guard or mapping of the object: it would
    /// wait for itself.
    ///
    /// # Errors
    /// As for `replace`, but Busy.
    pub fn replace_wait(&self, key: C::Key, bytes: &[u8]) -> Result<usize, Error> {
        let mut backoff = self.backoff();
        loop {
            match self.replace(key, bytes) {
                Err(Error::Busy) => backoff.wait(),
                outcome => return outcome,
            }
        }
    }

    /// Commits a move from the place of `pinned` to that of `moved`, and returns the old length; or
    /// clears the new slot, and then ends the mover's pin.
    fn commit_move(
        &self,
        cell: &AtomicU64,
        index: WordIndex,
        pinned: Word,
        moved: Word,
        class: ClassIndex,
    ) -> Result<usize, Error> {
        let place = moved.place(&self.layout);
        let old_place = pinned.place(&self.layout);
        let (old_class, old_len) = self.class_and_len(old_place);
        let mut locked = self.lock_class(old_class);
        // Release pairs with the Acquire of a pin: a reader of the new place sees its bytes.
        // Acquire: whoever was inside the old place has read (readers unpin with Release).
        let committed =
            cell.compare_exchange(pinned.0, moved.0, Ordering::AcqRel, Ordering::Relaxed);
        if let Err(found) = committed {
            drop(locked);
            self.discard(class, place);
            self.unpin_mover(index);
            return Err(match Word(found).state() {
                State::Freeing => Error::Stale,
                _ => Error::Busy,
            });
        }
        if self.zero_freed {
            self.zero_place(old_class, old_place, old_len);
        }
        let released = locked.clear(old_place);
        drop(locked);
        self.give_back(old_class, released);
        Ok(old_len)
    }

    /// Clears a slot that no word came to name.
    fn discard(&self, class: ClassIndex, place: Place) {
        if self.zero_freed {
            let (_, len) = self.class_and_len(place);
            let spans = self.spans(class, place, len);
            // SAFETY: no word ever led here, and the slot is not cleared yet, so the bytes are this
            // thread's alone; a mover of its frame waits until it is.
            unsafe { spans.zero(self.arena().payload()) };
        }
        let mut locked = self.lock_class(class);
        let released = locked.clear(place);
        drop(locked);
        self.give_back(class, released);
    }

    /// Ends a mover's pin that did not commit.
    pub(crate) fn unpin_mover(&self, index: WordIndex) {
        let _ = self.unpin(index, |cell| {
            // Release: what the mover did comes before the end of a free that waits for it.
            // Acquire: the last one out sees that all the others have read.
            let before = cell.fetch_and(!MOVER_PIN, Ordering::AcqRel);
            Word(before & !MOVER_PIN)
        });
    }
}
