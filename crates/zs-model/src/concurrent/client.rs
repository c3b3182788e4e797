//! What differs between clients.

use crate::{SlotTable, TestArena};
use core::fmt;
use std::sync::Arc;
use zsmalloc::{
    Client, ClientBits, Error, Handle, HandlePool, HandleTable, Pool, PoolOptions, ReadGuard,
    WordIndex,
};

/// A pool that threads share.
pub(super) type SharedPool<C> = Pool<Arc<TestArena>, C>;
/// Called with each object of a pool.
pub(super) type Visit<'v, C> = dyn FnMut(<C as Client>::Key, Guard<'_, C>) + 'v;
pub(super) type Guard<'p, C> = ReadGuard<'p, Arc<TestArena>, C>;

/// A client whose pools threads can share in a run. Sealed: [`HandleTable`] and [`SlotTable`].
pub trait Meeting: Client<Key: Ord + Send + fmt::Debug> + sealed::Clients {}

impl Meeting for HandleTable {}
impl Meeting for SlotTable {}

mod sealed {
    use super::*;

    pub trait Clients: Client + Sized + 'static {
        /// Makes a pool for the objects of `slots` places.
        fn pool(
            arena: Arc<TestArena>,
            options: PoolOptions<'_>,
            slots: u32,
        ) -> Result<SharedPool<Self>, Error>;

        /// The key of a place before anything is stored there, if places have keys of their own.
        fn key_of(slot: u32) -> Option<Self::Key>;

        /// Makes an object, in a place's own word if it has one.
        fn insert(pool: &SharedPool<Self>, slot: u32, bytes: &[u8]) -> Result<Self::Key, Error>;

        /// Makes an object of zeros; `None` if the client has no such way.
        fn allocate(pool: &SharedPool<Self>, len: usize) -> Option<Result<Self::Key, Error>>;

        /// Makes a key that names no object of this pool: another pool's, or any bits.
        fn stranger(key: Option<Self::Key>, bits: u64) -> Option<Self::Key>;

        /// Changes a place's empty word; nothing if it has none.
        fn mark(pool: &SharedPool<Self>, slot: u32, state: u8, payload: u32);

        /// Visits every object that can be read; returns how many could not.
        fn visit(pool: &SharedPool<Self>, visit: &mut Visit<'_, Self>) -> u64;
    }

    impl Clients for HandleTable {
        fn pool(
            arena: Arc<TestArena>,
            options: PoolOptions<'_>,
            _: u32,
        ) -> Result<HandlePool<Arc<TestArena>>, Error> {
            Pool::new(arena, options)
        }

        fn key_of(_: u32) -> Option<Handle> {
            None
        }

        fn insert(pool: &SharedPool<Self>, _: u32, bytes: &[u8]) -> Result<Handle, Error> {
            pool.insert(bytes)
        }

        fn allocate(pool: &SharedPool<Self>, len: usize) -> Option<Result<Handle, Error>> {
            Some(pool.allocate(len))
        }

        fn stranger(key: Option<Handle>, bits: u64) -> Option<Handle> {
            key.or_else(|| Handle::from_bits(bits))
        }

        fn mark(_: &SharedPool<Self>, _: u32, _: u8, _: u32) {}

        fn visit(pool: &SharedPool<Self>, visit: &mut Visit<'_, Self>) -> u64 {
            pool.for_each(visit)
        }
    }

    impl Clients for SlotTable {
        fn pool(
            arena: Arc<TestArena>,
            options: PoolOptions<'_>,
            slots: u32,
        ) -> Result<SharedPool<Self>, Error> {
            Pool::with_client(arena, options, |_, _| Ok(Self::new(slots)))
        }

        fn key_of(slot: u32) -> Option<WordIndex> {
            Some(WordIndex::new(slot))
        }

        fn insert(pool: &SharedPool<Self>, slot: u32, bytes: &[u8]) -> Result<WordIndex, Error> {
            let word = WordIndex::new(slot);
            let bits = ClientBits {
                flags: bytes.first().copied().unwrap_or(0),
                generation: slot,
            };
            pool.store(word, pool.client().get(word), bits, bytes)?;
            Ok(word)
        }

        fn allocate(_: &SharedPool<Self>, _: usize) -> Option<Result<WordIndex, Error>> {
            None
        }

        /// A word's number is good in every pool; one beyond all tables is in none.
        fn stranger(_: Option<WordIndex>, bits: u64) -> Option<WordIndex> {
            Some(WordIndex::new(bits as u32 | 1 << 31))
        }

        fn mark(pool: &SharedPool<Self>, slot: u32, state: u8, payload: u32) {
            pool.client()
                .mark_empty(WordIndex::new(slot), state, payload);
        }

        fn visit(pool: &SharedPool<Self>, visit: &mut Visit<'_, Self>) -> u64 {
            let mut skipped = 0;
            for index in (0..pool.client().words()).map(WordIndex::new) {
                match pool.read(index) {
                    Ok(guard) => visit(index, guard),
                    Err(Error::Busy) => skipped += 1,
                    Err(_) => {}
                }
            }
            skipped
        }
    }
}
