//! In-place write.
//!
//! word *exclusive*, alone -> bytes copied -> word *live*. Readers and a free wait for that bounded
//! copy, and for nothing else.

use crate::client::Client;
use crate::error::Error;
use crate::pool::Pool;
use crate::word::Word;
use zs_mm::ArenaRef;
use zs_sync::Ordering;

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Overwrites the bytes of an object from `offset` with `bytes`.
    ///
    /// A reader sees all of the write or nothing of it. Waits for another write or a move of the same
    /// object to end (a bounded copy).
    ///
    /// # Errors
    /// [`Error::Stale`]; [`Error::TooLarge`] if the range leaves the object; [`Error::Busy`] with a
    /// reader inside or while mapped for writing.
    pub fn write(&self, key: C::Key, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.own()?;
        let target = self.client.resolve(key).ok_or(Error::Stale)?;
        // Acquire: the readers that were inside have read (they unpin with Release).
        let (_, exclusive) = self.transition(target, Ordering::Acquire, Word::exclusive)?;
        let place = exclusive.place(&self.layout);
        let (class, len) = self.class_and_len(place);
        let size = offset.saturating_add(bytes.len());
        let outcome = if size > len {
            Err(Error::TooLarge { size, max: len })
        } else {
            let part = self.spans(class, place, len).part(offset, bytes.len());
            // SAFETY: an exclusive word lets nobody else in, so the object's bytes are this
            // thread's alone; its frames are attached, hence committed.
            unsafe { part.write(self.arena().payload(), bytes) };
            Ok(())
        };
        self.end_exclusive(target.index, exclusive);
        outcome
    }

    /// exclusive -> live.
    pub(crate) fn end_exclusive(&self, index: u32, exclusive: Word) {
        if let Some(cell) = self.cell(index) {
            // Release pairs with the Acquire of a pin: a reader sees the bytes.
            let outcome = cell.compare_exchange(
                exclusive.0,
                exclusive.live().0,
                Ordering::Release,
                Ordering::Relaxed,
            );
            debug_assert!(outcome.is_ok(), "nobody changes an exclusive word");
        }
    }
}
