//! FLAGS: the client's bits of a live object's word, changed where it is.
//!
//! word -> the client's bits of it -> other bits, by one compare-and-swap. Nobody waits for
//! readers, and readers notice nothing; a mover that has the object gives its move up, as for a
//! reader.

use crate::client::Client;
use crate::client_bits::ClientBits;
use crate::error::Error;
use crate::ids::WordIndex;
use crate::pool::Pool;
use crate::word::{Target, Word};
use zs_mm::ArenaRef;
use zs_sync::{Ordering, Peek};

impl<A: ArenaRef, C: Client<Key = WordIndex>> Pool<A, C> {
    /// Changes the client's bits of the object of word `index`, by the pure function `change`: it
    /// is given the bits as they are, perhaps several times, and answers what they become, or
    /// `None` to leave them. Returns the bits before and whether they were changed.
    ///
    /// What this thread did before is seen by whoever finds the new bits. Waits for an in-place
    /// write of the same object to end (a bounded copy), for nothing else.
    ///
    /// # Errors
    /// [`Error::Stale`] if the word holds no object; [`Error::Busy`] while it is mapped for
    /// writing; [`Error::Forked`].
    #[inline]
    pub fn change_bits(
        &self,
        index: WordIndex,
        change: impl Fn(ClientBits) -> Option<ClientBits>,
    ) -> Result<(ClientBits, bool), Error> {
        self.ensure_not_forked()?;
        let layout = self.layout();
        let next = |word: Word, target: Target| {
            // Checked first: the bits of a word without an object are nobody's.
            word.checked(target)?;
            let changed = change(word.client_bits(&layout));
            Ok(changed.map_or(word, |bits| word.with_client_bits(&layout, bits)))
        };
        // Acquire pairs with the Release of the last change, Release with the Acquire of the next.
        let (before, after) = self.transition(Target::word(index), Ordering::AcqRel, next)?;
        Ok((before.client_bits(&layout), before != after))
    }

    /// Returns word `index` as it is now, whatever it holds; `None` if there is no such word.
    #[inline]
    pub fn look_at(&self, index: WordIndex) -> Option<Word> {
        // Acquire pairs with whoever put the word there: what it did before is seen.
        self.cell(index)
            .map(|cell| Word(cell.peek(Ordering::Acquire)))
    }
}
