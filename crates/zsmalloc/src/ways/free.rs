//! FREE: an object goes.
//!
//! word *freeing* -> (last reader out) -> class lock: word empty, slot and back reference cleared
//! -> frames that nothing touches detached -> given back with no lock held.

use crate::client::Client;
use crate::error::Error;
use crate::ids::WordIndex;
use crate::pool::Pool;
use crate::word::Word;
use zs_mm::ArenaRef;
use zs_sync::Ordering;

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Frees an object. With readers inside, the handle is stale at once, and the last reader to
    /// leave gives the memory back.
    ///
    /// Waits for an in-place write of the same object to end (a bounded copy).
    ///
    /// # Errors
    /// [`Error::Stale`], also for a second free; [`Error::Busy`] while mapped for writing.
    pub fn free(&self, key: C::Key) -> Result<(), Error> {
        self.ensure_not_forked()?;
        let target = self.client.resolve(key).ok_or(Error::Stale)?;
        // Acquire: if nobody is inside, the readers that were have read (they unpin with Release).
        // Release: whoever leaves last and finishes sees what this thread did before.
        let (_, freeing) = self.transition(target, Ordering::AcqRel, Word::freed)?;
        if freeing.is_abandoned() {
            self.finish_free(target.index, freeing);
        }
        Ok(())
    }

    /// Finishes a free that nobody is inside of. Exactly one thread gets here for each: the one
    /// whose read-modify-write left the word abandoned: nearly always the free's own.
    pub(crate) fn finish_free(&self, index: WordIndex, freeing: Word) {
        let Some(cell) = self.cell(index).filter(|_| !self.arena().is_forked()) else {
            return;
        };
        let place = freeing.place(&self.layout);
        let (class, len) = self.class_and_len(place);
        // A frame that is being moved is zeroed by its mover, or below.
        let zero_later = self.zero_freed && self.is_being_moved(class, place);
        if self.zero_freed && !zero_later {
            let spans = self.spans(class, place, len);
            // SAFETY: an abandoned word has no reader, no mover and no writer, and nobody can enter
            // it; the slot is not cleared yet, so the bytes are this thread's alone. Nobody moves
            // its frames: whoever begins to sees the abandoned word.
            unsafe { spans.zero(self.arena().payload()) };
        }
        let empty = self.client.emptied(&self.layout, freeing);
        debug_assert!(!empty.has_place());
        let mut locked = self.lock_class(class);
        // The word leaves its place under the class lock, before slot and back reference are
        // cleared, so that under class every back reference leads to a word that names its slot.
        // Release: a client that finds its word empty finds the object gone.
        let outcome =
            cell.compare_exchange(freeing.0, empty.0, Ordering::Release, Ordering::Relaxed);
        debug_assert!(outcome.is_ok(), "nobody changes an abandoned word");
        if zero_later {
            self.zero_place(class, place, len);
        }
        let released = locked.clear(place);
        drop(locked);
        self.give_back(class, released);
        // SAFETY: this is the client's pool, and this thread has just emptied the word.
        unsafe { self.client.reclaimed(self.arena(), index) };
    }
}
