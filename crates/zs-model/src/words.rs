//! What differs between clients: a handle table, or a table of the client's own.

use core::fmt;
use zs_mm::{Arena, Backing};
use zsmalloc::{Client, Error, Handle, HandlePool, HandleTable, Pool, PoolOptions, Spans};

/// What a key stands for at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// No object.
    Absent,
    /// A live object.
    Live,
    /// An object that was freed with a reader inside.
    Freeing,
}

/// A client that a run can drive.
pub trait Words: Client<Key: PartialEq + fmt::Debug> + Sized {
    /// What the client asks for when it makes an object.
    type Ask: Copy + fmt::Debug;

    /// Makes a pool. Its client has room for `most` objects.
    ///
    /// # Errors
    /// As for [`Pool::new`](zsmalloc::Pool::new).
    fn pool<'a, B: Backing>(
        arena: &'a Arena<B>,
        options: PoolOptions<'_>,
        most: u32,
    ) -> Result<Pool<&'a Arena<B>, Self>, Error>;

    /// Returns what to ask for, by the operation's `slot` and `seed`; `None` if that would wait for
    /// a reader, who is this thread.
    fn ask(
        &self,
        slot: u16,
        seed: u8,
        presence: impl Fn(Self::Key) -> Presence,
    ) -> Option<Self::Ask>;

    /// Returns what an insert must answer beside its size, given the pool's objects and the most of
    /// them.
    ///
    /// # Errors
    /// The error that must come.
    fn expect(&self, ask: &Self::Ask, objects: u64, most: u64) -> Result<(), Error>;

    /// Stores `bytes`, or zeros by `allocate` where there is such a method.
    ///
    /// # Errors
    /// The pool's.
    fn insert<B: Backing>(
        pool: &Pool<&Arena<B>, Self>,
        ask: &Self::Ask,
        bytes: &[u8],
        zeros: bool,
    ) -> Result<Self::Key, Error>;

    /// Says whether the word of a live object carries what the client asked for, and nothing else.
    fn keeps<B: Backing>(pool: &Pool<&Arena<B>, Self>, key: Self::Key, ask: &Self::Ask) -> bool;

    /// Says whether the word of an object that is gone for good is as its client wants it.
    fn is_empty_after<B: Backing>(
        pool: &Pool<&Arena<B>, Self>,
        key: Self::Key,
        ask: &Self::Ask,
    ) -> bool;

    /// Visits every object that can be read; returns how many could not.
    fn visit<B: Backing>(
        pool: &Pool<&Arena<B>, Self>,
        visit: &mut dyn FnMut(Self::Key, Spans<'_>),
    ) -> u64;

    /// Makes a key of any bits.
    fn forge(bits: u64) -> Option<Self::Key>;

    /// Changes an empty word of the client's own; what must come of it is for the client to say.
    fn mark(&self, slot: u16, state: u8, payload: u32, presence: impl Fn(Self::Key) -> Presence);
}

impl Words for HandleTable {
    type Ask = ();

    fn pool<'a, B: Backing>(
        arena: &'a Arena<B>,
        options: PoolOptions<'_>,
        most: u32,
    ) -> Result<HandlePool<&'a Arena<B>>, Error> {
        let max_objects = Some(most);
        Pool::new(
            arena,
            PoolOptions {
                max_objects,
                ..options
            },
        )
    }

    fn ask(&self, _: u16, _: u8, _: impl Fn(Handle) -> Presence) -> Option<()> {
        Some(())
    }

    fn expect(&self, _: &(), objects: u64, most: u64) -> Result<(), Error> {
        if objects >= most {
            return Err(Error::NoMemory);
        }
        Ok(())
    }

    fn insert<B: Backing>(
        pool: &Pool<&Arena<B>, Self>,
        _: &(),
        bytes: &[u8],
        zeros: bool,
    ) -> Result<Handle, Error> {
        if zeros {
            pool.allocate(bytes.len())
        } else {
            pool.insert(bytes)
        }
    }

    fn keeps<B: Backing>(_: &Pool<&Arena<B>, Self>, _: Handle, _: &()) -> bool {
        true
    }

    fn is_empty_after<B: Backing>(_: &Pool<&Arena<B>, Self>, _: Handle, _: &()) -> bool {
        true
    }

    fn visit<B: Backing>(
        pool: &HandlePool<&Arena<B>>,
        visit: &mut dyn FnMut(Handle, Spans<'_>),
    ) -> u64 {
        pool.for_each(|handle, guard| visit(handle, guard.spans()))
    }

    fn forge(bits: u64) -> Option<Handle> {
        Handle::from_bits(bits)
    }

    fn mark(&self, _: u16, _: u8, _: u32, _: impl Fn(Handle) -> Presence) {}
}
