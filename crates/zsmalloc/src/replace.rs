//! Replace: an object move with new bytes.
//!
//! mover's pin -> slot of the new class -> bytes copied -> old class lock: word to the new place,
//! expecting only this pin, old slot cleared. If a reader or a free came in meanwhile, the new slot
//! is cleared instead, and only then the pin ends.

use crate::client::Client;
use crate::error::Error;
use crate::insert::Contents;
use crate::pool::Pool;
use crate::word::{MOVER_PIN, Place, State, Word};
use zs_mm::ArenaRef;
use zs_sync::{AtomicU64, Ordering};

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Gives an object new contents of any length, under the same handle. Readers see the old bytes
    /// or the new ones. On an error the old contents stay.
    ///
    /// Needs memory for the new contents beside the old. Waits for a write or a move of the same
    /// object to end (a bounded copy).
    ///
    /// # Errors
    /// As for `insert`; [`Error::Stale`]; [`Error::Busy`] with a reader inside, or while mapped for
    /// writing.
    pub fn replace(&self, key: C::Key, bytes: &[u8]) -> Result<(), Error> {
        let class = self.class_for(bytes.len())?;
        let target = self.client.resolve(key).ok_or(Error::Stale)?;
        let cell = self.client.word(target.index).ok_or(Error::Stale)?;
        // Acquire: the word's place and record.
        let (_, pinned) = self.transition(target, Ordering::Acquire, Word::moving)?;
        // The back reference leads to a word that names another place: the mark of a move under
        // way, which whoever scans the slot respects.
        let outcome = self
            .take_slot(class, target.index, bytes.len(), |_| true)
            .and_then(|place| {
                let spans = self.spans(class, place, bytes.len());
                // SAFETY: the slot is in use for this move alone: no word leads there yet, so
                // nobody reads, writes or frees it. Its frames are attached, hence committed.
                unsafe { Contents::Bytes(bytes).put(self.arena().payload(), &spans) };
                self.commit_move(cell, pinned, class, place)
            });
        if outcome.is_err() {
            self.unpin_mover(target.index);
        }
        outcome
    }

    /// Like [`replace`](Self::replace), but waits for readers and maps to go instead of answering
    /// Busy. The calling thread must hold no guard or mapping of the object: it would wait for
    /// itself.
    ///
    /// # Errors
    /// As for `replace`, but Busy.
    pub fn replace_wait(&self, key: C::Key, bytes: &[u8]) -> Result<(), Error> {
        let mut backoff = self.backoff();
        loop {
            match self.replace(key, bytes) {
                Err(Error::Busy) => backoff.wait(),
                outcome => return outcome,
            }
        }
    }

    /// Commits a move from the place of `pinned` to `place` in `class`, or clears that place.
    fn commit_move(
        &self,
        cell: &AtomicU64,
        pinned: Word,
        class: usize,
        place: Place,
    ) -> Result<(), Error> {
        let old_place = pinned.place(&self.layout);
        let (old_class, old_len) = self.class_and_len(old_place);
        let moved = pinned.moved(&self.layout, place);
        let mut state = self.classes[old_class].lock(self.host());
        // Release pairs with the Acquire of a pin: a reader of the new place sees its bytes.
        // Acquire: whoever was inside the old place has read (readers unpin with Release).
        let committed =
            cell.compare_exchange(pinned.0, moved.0, Ordering::AcqRel, Ordering::Relaxed);
        match committed {
            Ok(_) => {
                if self.zero_freed {
                    let spans = self.spans(old_class, old_place, old_len);
                    // SAFETY: no word leads to the old place any more, and the slot is not cleared
                    // yet, so the bytes are this thread's alone.
                    unsafe { spans.zero(self.arena().payload()) };
                }
                let released = self.clear_slot(&mut state, old_class, old_place);
                drop(state);
                self.give_back(old_class, released);
                Ok(())
            }
            Err(found) => {
                drop(state);
                if self.zero_freed {
                    let (_, len) = self.class_and_len(place);
                    let spans = self.spans(class, place, len);
                    // SAFETY: no word ever led to the new place, and its slot is not cleared yet,
                    // so the bytes are this thread's alone.
                    unsafe { spans.zero(self.arena().payload()) };
                }
                let mut state = self.classes[class].lock(self.host());
                let released = self.clear_slot(&mut state, class, place);
                drop(state);
                self.give_back(class, released);
                match Word(found).state() {
                    State::Freeing => Err(Error::Stale),
                    _ => Err(Error::Busy),
                }
            }
        }
    }

    /// Ends a mover's pin that did not commit.
    fn unpin_mover(&self, index: u32) {
        self.unpin(index, |cell| {
            // Release: what the mover did comes before the end of a free that waits for it.
            // Acquire: the last one out sees that all the others have read.
            let before = cell.fetch_and(!MOVER_PIN, Ordering::AcqRel);
            Word(before & !MOVER_PIN)
        });
    }
}
