//! Map: one contiguous view of an object.
//!
//! Copy mapping: a read-only view pins the object, and copies it only if it spans frames; the views
//! that write work on the caller's buffer, which goes into the object when the mapping ends.

use crate::client::Client;
use crate::error::Error;
use crate::ids::{ClassIndex, WordIndex};
use crate::pool::Pool;
use crate::ways::read::ReadGuard;
use crate::word::Word;
use core::fmt;
use core::ops::Deref;
use zs_mm::ArenaRef;
use zs_sync::Ordering;

/// The access that a mapping gives to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapMode {
    /// Nothing is written back. Like a reader: several at a time.
    ReadOnly,
    /// The buffer starts as the object, and replaces its bytes at the end.
    ReadWrite,
    /// The buffer starts as zeros, and replaces the object's bytes at the end.
    WriteOnly,
}

/// One contiguous view of an object; ends, and writes back, when it is dropped.
pub struct Mapping<'p, 'b, A: ArenaRef, C: Client>(View<'p, 'b, A, C>);

enum View<'p, 'b, A: ArenaRef, C: Client> {
    /// In one frame: seen where it is.
    Direct(ReadGuard<'p, A, C>),
    /// Over two frames, read-only: a copy.
    Copied {
        bytes: &'b [u8],
        _reader: ReadGuard<'p, A, C>,
    },
    /// Written back at the end.
    Private {
        buffer: &'b mut [u8],
        pool: &'p Pool<A, C>,
        index: WordIndex,
        mapped: Word,
    },
}

impl<A: ArenaRef, C: Client> fmt::Debug for Mapping<'_, '_, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            View::Direct(_) => "direct",
            View::Copied { .. } => "copied",
            View::Private { .. } => "private",
        };
        f.debug_struct("Mapping")
            .field("view", &kind)
            .field("len", &self.len())
            .finish()
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Maps an object as one slice; `buffer` holds it where it cannot be seen in place.
    ///
    /// While mapped for writing, every other use of the object is answered Busy; a mapping that is
    /// leaked leaves it so. Waits for a write or a move of the same object to end (a bounded copy);
    /// the end of a mapping for writing also while one of the object's frames is being moved,
    /// as [`write`](Self::write) does. A mapping that ends in a forked child writes nothing
    /// back.
    ///
    /// # Errors
    /// [`Error::Stale`]; [`Error::Busy`] if mapped for writing, and for the writing modes with a
    /// reader inside; [`Error::BufferTooSmall`] with the length needed.
    pub fn map<'p, 'b>(
        &'p self,
        key: C::Key,
        mode: MapMode,
        buffer: &'b mut [u8],
    ) -> Result<Mapping<'p, 'b, A, C>, Error> {
        if mode != MapMode::ReadOnly {
            return self.map_private(key, mode, buffer);
        }
        let guard = self.read(key)?;
        if guard.spans().second.is_empty() {
            return Ok(Mapping(View::Direct(guard)));
        }
        let len = guard.copy_to(buffer)?;
        Ok(Mapping(View::Copied {
            bytes: &buffer[..len],
            _reader: guard,
        }))
    }

    fn map_private<'p, 'b>(
        &'p self,
        key: C::Key,
        mode: MapMode,
        buffer: &'b mut [u8],
    ) -> Result<Mapping<'p, 'b, A, C>, Error> {
        self.ensure_not_forked()?;
        let target = self.client.resolve(key).ok_or(Error::Stale)?;
        // Acquire pairs with the Release that made the word live: the bytes. Exclusive while they
        // are copied out: a mover of frames sees that somebody is inside.
        let (_, exclusive) = self.transition(target, Ordering::Acquire, Word::exclusive)?;
        let (class, needed) = self.class_and_len(exclusive.place(&self.layout));
        let Some(buffer) = buffer.get_mut(..needed) else {
            self.end_exclusive(target.index, exclusive, exclusive.live());
            return Err(Error::BufferTooSmall { needed });
        };
        match mode {
            MapMode::WriteOnly => buffer.fill(0),
            MapMode::ReadOnly | MapMode::ReadWrite => self.copy_exclusive(class, exclusive, buffer),
        }
        let mapped = exclusive.mapped();
        self.end_exclusive(target.index, exclusive, mapped);
        Ok(Mapping(View::Private {
            buffer,
            pool: self,
            index: target.index,
            mapped,
        }))
    }

    /// Copies the bytes of an object out that this thread has alone.
    fn copy_exclusive(&self, class: ClassIndex, exclusive: Word, buffer: &mut [u8]) {
        let spans = self.spans(class, exclusive.place(&self.layout), buffer.len());
        let payload = self.arena().payload();
        let (first, second) = buffer.split_at_mut(spans.first.len());
        // SAFETY: an exclusive word lets nobody else in, and this thread does not write meanwhile;
        // the frames are attached, hence committed, and drain if they are moved.
        first.copy_from_slice(unsafe { payload.bytes(spans.first.start, spans.first.len()) });
        if !second.is_empty() {
            // SAFETY: as for the first span.
            second.copy_from_slice(unsafe { payload.bytes(spans.second.start, second.len()) });
        }
    }

    /// mapped -> exclusive, the bytes in, -> live. Waits while one of its frames is being moved; in
    /// a forked child, where that may never end and the memory may be the parent's, nothing is
    /// written back.
    fn unmap(&self, index: WordIndex, mapped: Word, bytes: &[u8]) {
        let Some(cell) = self.cell(index).filter(|_| !self.arena().is_forked()) else {
            return;
        };
        let exclusive = mapped.writing_back();
        let place = exclusive.place(&self.layout);
        let (class, _) = self.class_and_len(place);
        let mut backoff = self.backoff();
        loop {
            // Acquire and Release: the mapped word was this mapping's alone; the order matters only
            // to a mover of frames, which lets an exclusive word's frames be.
            let outcome =
                cell.compare_exchange(mapped.0, exclusive.0, Ordering::AcqRel, Ordering::Relaxed);
            // A mover's look changes nothing.
            debug_assert!(outcome.is_ok(), "nobody changes a mapped word");
            if !self.is_being_moved(class, place) {
                break;
            }
            self.end_exclusive(index, exclusive, mapped);
            backoff.wait();
        }
        let spans = self.spans(class, place, bytes.len());
        // SAFETY: an exclusive word lets nobody else in, so the object's bytes are this thread's
        // alone; its frames are attached, hence committed, and nobody moves them: whoever
        // begins to sees the word.
        unsafe { spans.write(self.arena().payload(), bytes) };
        self.end_exclusive(index, exclusive, exclusive.live());
    }
}

impl<A: ArenaRef, C: Client> Mapping<'_, '_, A, C> {
    /// Returns the view for writing; `None` if it is read-only.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match &mut self.0 {
            View::Private { buffer, .. } => Some(buffer),
            View::Direct(_) | View::Copied { .. } => None,
        }
    }

    /// Ends the mapping, as dropping it does.
    pub fn unmap(self) {}
}

impl<A: ArenaRef, C: Client> Deref for Mapping<'_, '_, A, C> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            View::Direct(guard) => guard.spans().first,
            View::Copied { bytes, .. } => bytes,
            View::Private { buffer, .. } => buffer,
        }
    }
}

impl<A: ArenaRef, C: Client> Drop for Mapping<'_, '_, A, C> {
    fn drop(&mut self) {
        if let View::Private {
            buffer,
            pool,
            index,
            mapped,
        } = &self.0
        {
            pool.unmap(*index, *mapped, buffer);
        }
    }
}
