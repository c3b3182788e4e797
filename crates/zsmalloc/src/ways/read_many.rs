//! LOAD of objects that the caller knows together.
//!
//! A read is a chain of cache misses, each of which leads to the next: word -> record -> bytes.
//! Reads of different objects do not depend on each other, so their chains can overlap: while one
//! object is read, the next one's first bytes, the record of the one after and the word of the one
//! after that are on their way from memory.
//!
//! Only hints run ahead. What they look at without a pin may be gone already; a wrong guess fetches
//! a useless line. The read itself is [`Pool::read`], one object at a time.

use crate::client::Client;
use crate::error::Error;
use crate::ids::EntryIndex;
use crate::pool::Pool;
use crate::record::units::UNIT_CELLS;
use crate::ways::read::ReadGuard;
use crate::word::{Place, Word};
use core::fmt;
use core::iter::FusedIterator;
use zs_mm::ArenaRef;
use zs_sync::{Ordering, Peek, prefetch};

/// By how many objects each stage of the hints runs ahead of the next.
const AHEAD: usize = 4;

/// Reads of many objects, each when it is asked for: what [`Pool::read_many`] returns.
pub struct ReadMany<'a, 'k, A: ArenaRef, C: Client> {
    pool: &'a Pool<A, C>,
    keys: &'k [C::Key],
    /// The next to be read.
    at: usize,
}

impl<A: ArenaRef, C: Client> fmt::Debug for ReadMany<'_, '_, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadMany")
            .field("keys", &self.keys.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Opens the objects of `keys` for reading, in their order, each as [`read`](Self::read) does
    /// and when the iterator gets there; memory of those that follow is fetched meanwhile. Of a
    /// pool that is larger than the processor's caches, this takes less time than as many
    /// single reads (`docs/performance.md`).
    ///
    /// An object that cannot be read is an error of its own and ends nothing. Whoever keeps the
    /// guards has as many readers inside as there are guards.
    pub fn read_many<'a, 'k>(&'a self, keys: &'k [C::Key]) -> ReadMany<'a, 'k, A, C> {
        if self.arena().may_read() {
            for &key in keys.iter().take(3 * AHEAD) {
                self.hint_word(key);
            }
            for &key in keys.iter().take(2 * AHEAD) {
                self.hint_record(key);
            }
            for &key in keys.iter().take(AHEAD) {
                self.hint_bytes(key);
            }
        }
        ReadMany {
            pool: self,
            keys,
            at: 0,
        }
    }

    /// Asks for an object's word.
    #[inline]
    fn hint_word(&self, key: C::Key) {
        let target = self.client.resolve(key);
        if let Some(cell) = target.and_then(|target| self.cell(target.index)) {
            prefetch(cell);
        }
    }

    /// Returns where an object seems to be, without a pin: all that follows from it is which lines
    /// are fetched.
    #[inline]
    fn glance(&self, key: C::Key) -> Option<Place> {
        let target = self.client.resolve(key)?;
        // Relaxed: a guess.
        let word = Word(self.cell(target.index)?.peek(Ordering::Relaxed));
        word.has_place().then(|| word.place(&self.layout))
    }

    /// Asks for the record of an object's zspage.
    #[inline]
    fn hint_record(&self, key: C::Key) {
        let place = self.glance(key);
        let unit = |place: Place| place.zspage.index() * UNIT_CELLS;
        if let Some(cell) = place.and_then(|place| self.records.cells().get(unit(place))) {
            prefetch(cell);
        }
    }

    /// Asks for an object's first bytes.
    #[inline]
    fn hint_bytes(&self, key: C::Key) {
        if let Some(offset) = self.glance(key).and_then(|place| self.likely_start(place)) {
            self.arena().payload().prefetch(offset);
        }
    }

    /// Returns where an object's bytes begin, if its zspage is still what the place says. If it is
    /// not, the record may be another's, of another class, or the middle of one, so slot and class
    /// are compared with their bounds; what frame comes of it is a number of the right width, and
    /// the prefetch looks at its bound.
    #[inline]
    fn likely_start(&self, place: Place) -> Option<usize> {
        let class = self.records.class_of(place.zspage)?;
        let class = *self.geometry.classes().get(class.index())?;
        if place.slot.number() >= class.slots {
            return None;
        }
        let page = self.geometry.page_size();
        let start = class.start_of(place.slot);
        let entry = EntryIndex::of_byte(start, page);
        let frame = self.records.glance(place.zspage, entry)?.index();
        Some((frame << page.shift()) + (start & (page.bytes() - 1)))
    }
}

impl<'a, A: ArenaRef, C: Client> Iterator for ReadMany<'a, '_, A, C> {
    type Item = Result<ReadGuard<'a, A, C>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let &key = self.keys.get(self.at)?;
        if !self.pool.arena().may_read() {
            // A forked child: the tables need not be there.
            self.at += 1;
            return Some(Err(Error::Forked));
        }
        if let Some(&later) = self.keys.get(self.at + 3 * AHEAD) {
            self.pool.hint_word(later);
        }
        if let Some(&later) = self.keys.get(self.at + 2 * AHEAD) {
            self.pool.hint_record(later);
        }
        if let Some(&later) = self.keys.get(self.at + AHEAD) {
            self.pool.hint_bytes(later);
        }
        self.at += 1;
        Some(self.pool.read(key))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.keys.len() - self.at;
        (left, Some(left))
    }
}

impl<A: ArenaRef, C: Client> ExactSizeIterator for ReadMany<'_, '_, A, C> {}
impl<A: ArenaRef, C: Client> FusedIterator for ReadMany<'_, '_, A, C> {}
