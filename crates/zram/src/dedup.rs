//! Deduplication: identical blocks stored once.
//!
//! stored bytes -> hash (64 bits, keyed) -> a shared object with that hash? bytes compared -> one reference more;
//! none -> a new shared object. A block's word then holds the object's number; the object's own word is in a table behind
//! the blocks' words. Blocks whose bytes collide in the hash only are stored, and not found again.
//!
//! # Locking
//!
//! One lock for the index, held for look-ups and counts: never while bytes are compared, stored or freed. A
//! reference that is taken under it keeps its object.

use crate::content::{Form, Mark};
use crate::error::Error;
use crate::store::Store;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zs_mm::{Arena, Backing, Charge, MetaTable};
use zs_sync::AtomicU64;
use zsmalloc::Word;

/// Shared objects, and the index to find them.
#[derive(Debug)]
pub(crate) struct Shares {
    words: MetaTable<AtomicU64>,
    hasher: RandomState,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_hash: HashMap<u64, u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Bytes that this index takes, as far as they are counted.
    counted: u64,
    charges: Vec<Charge>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    refs: u32,
    hash: u64,
}

impl Index {
    fn bytes(&self) -> u64 {
        // A map keeps a byte of control beside each entry, and a seventh of its places empty.
        let map = self.by_hash.capacity() * (size_of::<(u64, u32)>() + 1) * 8 / 7;
        let entries = self.entries.capacity() * size_of::<Entry>();
        (map + entries + self.free.capacity() * size_of::<u32>()) as u64
    }

    /// Room for one object more, counted in the arena's limit.
    fn grow<B: Backing>(&mut self, arena: &Arena<B>) -> Result<(), Error> {
        let room = self.by_hash.try_reserve(1).is_ok()
            && self.entries.try_reserve(1).is_ok()
            && self
                .free
                .try_reserve(self.entries.len() + 1 - self.free.len())
                .is_ok();
        if !room {
            return Err(Error::NoMemory);
        }
        let bytes = self.bytes();
        if bytes > self.counted {
            self.charges.push(arena.charge(bytes - self.counted)?);
            self.counted = bytes;
        }
        Ok(())
    }

    /// An unused number, with one reference.
    fn take(&mut self, hash: u64) -> u32 {
        let entry = Entry { refs: 1, hash };
        if let Some(number) = self.free.pop() {
            self.entries[number as usize] = entry;
            return number;
        }
        self.entries.push(entry);
        (self.entries.len() - 1) as u32
    }
}

impl Shares {
    pub(crate) fn new<B: Backing>(arena: &Arena<B>, most: u32) -> Result<Self, zsmalloc::Error> {
        Ok(Self {
            words: arena.reserve_table(most as usize)?,
            hasher: RandomState::new(),
            index: Mutex::default(),
        })
    }

    pub(crate) fn release<B: Backing>(self, arena: &Arena<B>) {
        arena.release_table(self.words);
        let index = self
            .index
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        for charge in index.charges {
            arena.uncharge(charge);
        }
    }

    pub(crate) fn word(&self, number: u32) -> Option<&AtomicU64> {
        self.words.get(number as usize)
    }

    /// The pool has emptied the word of an object: its number may be used again.
    pub(crate) fn reclaimed(&self, number: u32) {
        let mut index = self.lock();
        // There is room: `grow` keeps as many places as there are entries.
        index.free.push(number);
    }

    pub(crate) fn metadata_bytes(&self) -> u64 {
        self.words.committed_bytes() + self.lock().counted
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, form: Form, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u8(form.code());
        hasher.write(bytes);
        hasher.finish()
    }

    /// One reference more to the object with this hash, if there is one.
    fn find(&self, hash: u64) -> Option<u32> {
        let mut index = self.lock();
        let number = *index.by_hash.get(&hash)?;
        index.entries[number as usize].refs += 1;
        Some(number)
    }

    /// References of all objects, and how many objects there are.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let index = self.lock();
        let used = index.entries.iter().filter(|entry| entry.refs > 0);
        used.fold((0, 0), |(refs, objects), entry| {
            (refs + u64::from(entry.refs), objects + 1)
        })
    }
}

impl<B: Backing> Store<B> {
    /// A reference to the shared object with these bytes, which is made if there is none.
    pub(crate) fn share(&self, shares: &Shares, form: Form, bytes: &[u8]) -> Result<u32, Error> {
        let hash = shares.hash(form, bytes);
        if let Some(number) = self.find_same(shares, hash, form, bytes) {
            return Ok(number);
        }
        let number = {
            let mut index = shares.lock();
            index.grow(self.arena())?;
            index.take(hash)
        };
        if let Err(error) = self.fill_shared(shares, number, form, bytes) {
            let mut index = shares.lock();
            index.entries[number as usize].refs = 0;
            index.free.push(number);
            return Err(error);
        }
        // Who stored the same meanwhile was faster: theirs is taken.
        loop {
            let mut index = shares.lock();
            if let std::collections::hash_map::Entry::Vacant(e) = index.by_hash.entry(hash) {
                e.insert(number);
                return Ok(number);
            }
            drop(index);
            match self.find_same(shares, hash, form, bytes) {
                Some(other) => {
                    self.release_shared(number);
                    return Ok(other);
                }
                // The same hash, and other bytes: this object is found by nobody.
                None if shares.lock().by_hash.contains_key(&hash) => return Ok(number),
                None => {}
            }
        }
    }

    fn find_same(&self, shares: &Shares, hash: u64, form: Form, bytes: &[u8]) -> Option<u32> {
        let number = shares.find(hash)?;
        let index = self.table().shared_index(number);
        let is_same = self.read_pinned(index).is_ok_and(|guard| {
            let spans = guard.spans();
            let (first, second) = bytes.split_at(spans.first.len().min(bytes.len()));
            let bits = self
                .pool
                .look_at(index)
                .map(|word| word.client_bits(&self.pool.layout()));
            bits.is_some_and(|bits| Mark::of(bits).form == form)
                && spans.first == first
                && spans.second == second
        });
        if is_same {
            return Some(number);
        }
        self.release_shared(number);
        None
    }

    fn fill_shared(
        &self,
        shares: &Shares,
        number: u32,
        form: Form,
        bytes: &[u8],
    ) -> Result<(), Error> {
        self.arena().ensure(&shares.words, number as usize)?;
        let mut mark = Mark::locked(form);
        // The lock of shared objects is their references.
        mark.locked = false;
        let index = self.table().shared_index(number);
        self.pool
            .store(index, Word::from_bits(0), mark.bits(), bytes)?;
        Ok(())
    }

    /// One reference less; with the last one the object goes.
    pub(crate) fn release_shared(&self, number: u32) {
        let Some(shares) = &self.table().shares else {
            return;
        };
        let mut index = shares.lock();
        let entry = &mut index.entries[number as usize];
        entry.refs -= 1;
        let Entry { refs, hash } = *entry;
        if refs > 0 {
            return;
        }
        if index.by_hash.get(&hash) == Some(&number) {
            index.by_hash.remove(&hash);
        }
        drop(index);
        // A shared object is neither mapped nor freed by others; `reclaimed` makes its number free.
        let freed = self.pool.free(self.table().shared_index(number));
        debug_assert!(freed.is_ok(), "a referenced object is there");
    }
}
