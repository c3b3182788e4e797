//! Shared objects: their numbers, references, and the index that finds them by hash.
//!
//! hash (32 bits, keyed) -> number -> (the object's word, its entry). An entry is *references |
//! hash* of an object, or the next free number. Words, entries and index have memory for as many
//! numbers as there were objects at once; all of it comes back when no object is left.
//!
//! # Locking
//!
//! The index and the entries have one lock (`LockName::Shares`), held for look-ups and counts.
//! Memory is taken and given back under `growth`, which lies outside it.

use crate::block::content::Form;
use crate::error::Error;
use crate::ids::SharedIndex;
use crate::ids::as_index;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use zs_mm::{Arena, Backing, Charge, MetaTable};
use zs_sync::{AtomicU64, Host, LockName, Mutex, MutexGuard, Ordering, RawLock};

/// Numbers beside one for each block: a block that is overwritten has two, and each writer a third
/// while it finds out whether somebody was faster.
pub(crate) const SPARE: u32 = 4096;

const NONE: u32 = u32::MAX;

/// Shared objects, and the index to find them.
#[derive(Debug)]
pub(crate) struct DedupIndex {
    /// Two cells of a number: the object's word, which is the pool's; its entry.
    cells: MetaTable<AtomicU64>,
    /// Numbers that get memory together.
    piece: u32,
    most: u32,
    hasher: RandomState,
    index: Mutex<Index>,
    /// Bytes of the index that are counted in the arena's limit; changed under `growth`.
    charged: AtomicU64,
    growth: RawLock,
}

/// The state that the lock guards, beside the entries.
#[derive(Debug)]
struct Index {
    by_hash: HashMap<u32, SharedIndex>,
    charge: Option<Charge>,
    /// Numbers below this have memory.
    room: u32,
    /// Numbers from this on were never used.
    fresh: u32,
    /// The first of the free ones below it.
    free: u32,
    /// Numbers that are not free: of objects, and of those on their way.
    taken: u32,
    references: u64,
    objects: u64,
}

impl Index {
    fn empty() -> Self {
        Self {
            by_hash: HashMap::new(),
            charge: None,
            room: 0,
            fresh: 0,
            free: NONE,
            taken: 0,
            references: 0,
            objects: 0,
        }
    }

    fn needs_numbers(&self) -> bool {
        self.free == NONE && self.fresh == self.room
    }

    /// Each number that is taken may come into the map.
    fn needs_places(&self) -> bool {
        self.by_hash.capacity() <= as_index(self.taken)
    }
}

/// Returns the number of bytes of a map with so many places: a byte of control beside each, an
/// eighth of them empty, a power of two.
fn map_bytes(places: usize) -> u64 {
    let buckets = (places * 8).div_ceil(7).next_power_of_two();
    (buckets * (size_of::<(u32, SharedIndex)>() + 1) + 64) as u64
}

impl DedupIndex {
    /// Makes the index of a table of so many blocks.
    pub(crate) fn new<B: Backing>(arena: &Arena<B>, blocks: u32) -> Result<Self, zsmalloc::Error> {
        let most = blocks + SPARE;
        Ok(Self {
            cells: arena.reserve_table(as_index(most) * 2)?,
            piece: (arena.granule() / (2 * size_of::<u64>())).max(1) as u32,
            most,
            hasher: RandomState::new(),
            index: Mutex::new(LockName::Shares, Index::empty()),
            charged: AtomicU64::new(0),
            growth: RawLock::default(),
        })
    }

    pub(crate) fn release<B: Backing>(self, arena: &Arena<B>) {
        let charge = self.index.lock(arena.host()).charge.take();
        if let Some(charge) = charge {
            arena.uncharge(charge);
        }
        arena.release_table(self.cells);
    }

    /// Returns the bound that all numbers are below.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    pub(crate) fn word(&self, number: SharedIndex) -> Option<&AtomicU64> {
        self.cells.get(as_index(number.number()) * 2)
    }

    fn entry(&self, number: SharedIndex) -> &AtomicU64 {
        self.cells.at(as_index(number.number()) * 2 + 1)
    }

    /// Returns the references, and the hash.
    fn entry_of(&self, number: SharedIndex) -> (u32, u32) {
        // Relaxed: the index's lock orders it.
        let entry = self.entry(number).load(Ordering::Relaxed);
        ((entry >> 32) as u32, entry as u32)
    }

    fn set_entry(&self, number: SharedIndex, references: u32, hash: u32) {
        let entry = u64::from(references) << 32 | u64::from(hash);
        // Relaxed: the index's lock orders it.
        self.entry(number).store(entry, Ordering::Relaxed);
    }

    pub(crate) fn hash(&self, form: Form, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u8(form.code());
        hasher.write(bytes);
        hasher.finish() as u32
    }

    /// Adds a reference to the object with this hash, if there is one.
    pub(crate) fn find(&self, host: &dyn Host, hash: u32) -> Option<SharedIndex> {
        let mut index = self.index.lock(host);
        let number = *index.by_hash.get(&hash)?;
        let (references, _) = self.entry_of(number);
        self.set_entry(number, references + 1, hash);
        index.references += 1;
        Some(number)
    }

    /// Returns a number for an object that is to be stored, with one reference; nobody finds it
    /// before [`publish`](Self::publish). Calls the backing now and then.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(crate) fn take<B: Backing>(
        &self,
        arena: &Arena<B>,
        hash: u32,
    ) -> Result<SharedIndex, Error> {
        let mut index = self.with_room(arena)?;
        let number = if index.free == NONE {
            index.fresh += 1;
            SharedIndex::new(index.fresh - 1)
        } else {
            let number = SharedIndex::new(index.free);
            index.free = self.entry_of(number).1;
            number
        };
        index.taken += 1;
        index.references += 1;
        index.objects += 1;
        self.set_entry(number, 1, hash);
        Ok(number)
    }

    fn with_room<'a, B: Backing>(
        &'a self,
        arena: &'a Arena<B>,
    ) -> Result<MutexGuard<'a, Index>, Error> {
        loop {
            let index = self.index.lock(arena.host());
            let (numbers, places) = (index.needs_numbers(), index.needs_places());
            if !numbers && !places {
                return Ok(index);
            }
            drop(index);
            self.growth.lock(arena.host());
            let grown = self.grow(arena);
            self.growth.unlock(arena.host());
            grown?;
        }
    }

    /// Gets memory for what is wanting; perhaps somebody else was faster. The caller holds
    /// `growth`.
    fn grow<B: Backing>(&self, arena: &Arena<B>) -> Result<(), Error> {
        let index = self.index.lock(arena.host());
        let (room, places) = (index.room, index.by_hash.capacity());
        let (numbers, wants_places) = (index.needs_numbers(), index.needs_places());
        drop(index);
        if numbers {
            if room == self.most {
                return Err(Error::NoMemory);
            }
            let end = room.saturating_add(self.piece).min(self.most);
            arena.commit_cells(&self.cells, as_index(room) * 2..as_index(end) * 2)?;
            self.index.lock(arena.host()).room = end;
        }
        if wants_places {
            self.grow_map(arena, (places * 2).max(56))?;
        }
        Ok(())
    }

    fn grow_map<B: Backing>(&self, arena: &Arena<B>, places: usize) -> Result<(), Error> {
        // While both are there both are counted.
        let charged = map_bytes(places);
        let charge = arena.charge(charged)?;
        let mut larger = HashMap::new();
        if larger.try_reserve(places).is_err() {
            arena.uncharge(charge);
            return Err(Error::NoMemory);
        }
        let mut index = self.index.lock(arena.host());
        larger.extend(index.by_hash.drain());
        let smaller = std::mem::replace(&mut index.by_hash, larger);
        let old = index.charge.replace(charge);
        drop(index);
        self.charged.store(charged, Ordering::Relaxed);
        drop(smaller);
        if let Some(old) = old {
            arena.uncharge(old);
        }
        Ok(())
    }

    /// Says that the object of a number that was taken is stored: others find it from here on;
    /// false if another with the same hash is found already.
    pub(crate) fn publish(&self, host: &dyn Host, hash: u32, number: SharedIndex) -> bool {
        let mut index = self.index.lock(host);
        // There is a place, by `with_room`.
        *index.by_hash.entry(hash).or_insert(number) == number
    }

    /// Takes a reference away. With the last one nobody finds the object any more: true, and the
    /// caller frees it.
    pub(crate) fn leave(&self, host: &dyn Host, number: SharedIndex) -> bool {
        let mut index = self.index.lock(host);
        let (references, hash) = self.entry_of(number);
        debug_assert!(references > 0, "who leaves had a reference");
        self.set_entry(number, references - 1, hash);
        index.references -= 1;
        if references > 1 {
            return false;
        }
        if index.by_hash.get(&hash) == Some(&number) {
            index.by_hash.remove(&hash);
        }
        index.objects -= 1;
        true
    }

    /// Frees a number whose word is empty: it may be used again.
    pub(crate) fn reclaimed(&self, host: &dyn Host, number: SharedIndex) {
        let mut index = self.index.lock(host);
        self.set_entry(number, 0, index.free);
        index.free = number.number();
        index.taken -= 1;
    }

    /// Gives everything back if there is no object; returns the bytes.
    pub(crate) fn trim<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        self.growth.lock(arena.host());
        let bytes = self.trim_alone(arena);
        self.growth.unlock(arena.host());
        bytes
    }

    fn trim_alone<B: Backing>(&self, arena: &Arena<B>) -> u64 {
        let mut index = self.index.lock(arena.host());
        if index.taken > 0 || index.room == 0 {
            return 0;
        }
        let old = std::mem::replace(&mut *index, Index::empty());
        drop(index);
        let charged = self.charged.swap(0, Ordering::Relaxed);
        // Nobody has a number, and who wants one waits for `growth`.
        let bytes = arena.decommit_cells(&self.cells, 0..as_index(old.room) * 2);
        if bytes == 0 {
            // Refused: the memory is there still. What entries hold does not matter below `fresh`,
            // and words are 0.
            self.index.lock(arena.host()).room = old.room;
        }
        drop(old.by_hash);
        if let Some(charge) = old.charge {
            arena.uncharge(charge);
        }
        bytes + charged
    }

    /// References of all objects, and how many objects there are.
    pub(crate) fn counts(&self, host: &dyn Host) -> (u64, u64) {
        let index = self.index.lock(host);
        (index.references, index.objects)
    }

    /// Numbers of objects, and the references of each; for `validate`.
    pub(crate) fn objects(&self, host: &dyn Host) -> impl Iterator<Item = (SharedIndex, u32)> {
        let fresh = self.index.lock(host).fresh;
        let all = (0..fresh).map(SharedIndex::new);
        let all = all.map(|number| (number, self.entry_of(number).0));
        all.filter(|(_, references)| *references > 0)
    }

    pub(crate) fn metadata_bytes(&self) -> u64 {
        // Relaxed: a figure.
        self.cells.committed_bytes() + self.charged.load(Ordering::Relaxed)
    }
}
