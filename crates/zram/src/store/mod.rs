//! A store: made, and who is attached to it.

pub(crate) mod lock;
pub(crate) mod options;
pub(crate) mod range;
pub(crate) mod streams;
pub(crate) mod timing;

use crate::backing::attached::Writeback;
use crate::block::table::{BlockTable, TableOptions};
use crate::block::waiters::Waiters;
use crate::codecs::Codecs;
use crate::counters::Counters;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::options::{StoreOptions, check_size};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use zcomp::{Algorithm, Dictionary};
use zs_mm::{Arena, ArenaOptions, Backing, wide};
use zs_os::{AnonBacking, HOST};
use zs_sync::Host;
use zsmalloc::{Pool, PoolOptions, ReadGuard, WordIndex};

/// A compressed block store: bytes at offsets, as a disk has them, in compressed memory.
///
/// Shared by reference between threads; every method may be called from all of them at once. A
/// request on one block is atomic: a reader sees the block before or after a write, never a
/// mixture; of a request that covers several blocks each block is. What was never written, or was
/// discarded, reads as zeros.
pub struct Store<B: Backing = AnonBacking> {
    pub(crate) pool: Pool<Arena<B>, BlockTable>,
    pub(crate) codecs: Codecs,
    pub(crate) counters: Counters,
    pub(crate) waiters: Waiters,
    pub(crate) writeback: Writeback,
    /// Bytes; grows only.
    size: AtomicU64,
    pub(crate) raw_threshold: usize,
    /// When the store was made, by the host's clock.
    start_ns: u64,
    attached: Mutex<Attached>,
}

#[derive(Debug, Default)]
struct Attached {
    clients: u64,
    alone: bool,
}

impl<B: Backing> fmt::Debug for Store<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("size", &self.size())
            .field("block_size", &self.block_size())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a store in private anonymous memory.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an option is out of bounds, [`Error::NoMemory`].
    pub fn new(options: StoreOptions) -> Result<Self, Error> {
        Self::with_backing(AnonBacking::new(), &HOST, options)
    }
}

impl<B: Backing> Store<B> {
    /// Makes a store in memory of another kind.
    ///
    /// # Errors
    /// As for [`new`](Store::new).
    pub fn with_backing(
        backing: B,
        host: &'static dyn Host,
        options: StoreOptions,
    ) -> Result<Self, Error> {
        let blocks = options.max_blocks()?;
        let (limit, reserve) = options.limits()?;
        let raw_threshold = options.raw_threshold()?;
        let arena_options = ArenaOptions {
            page_size: options.block_size,
            reserve: Some(reserve),
            ..ArenaOptions::new(limit)
        };
        let arena = Arena::new(backing, host, arena_options)?;
        let table = TableOptions {
            blocks,
            shares: options.dedup,
            times: options.track_access,
        };
        let pool = Pool::with_client(arena, PoolOptions::named("zram"), |arena, _| {
            BlockTable::new(arena, table)
        })?;
        let store = Self {
            pool,
            codecs: Codecs::new(options.threads),
            counters: Counters::default(),
            waiters: Waiters::default(),
            writeback: Writeback::default(),
            size: AtomicU64::new(options.size),
            raw_threshold,
            start_ns: host.now_ns(),
            attached: Mutex::default(),
        };
        store.set_codec(0, options.algorithm, options.dictionary)?;
        Ok(store)
    }

    pub(crate) fn arena(&self) -> &Arena<B> {
        self.pool.arena()
    }

    pub(crate) fn table(&self) -> &BlockTable {
        self.pool.client()
    }

    /// Returns a pin on an object, whatever other readers do.
    pub(crate) fn read_pinned(
        &self,
        index: WordIndex,
    ) -> Result<ReadGuard<'_, Arena<B>, BlockTable>, zsmalloc::Error> {
        let mut spins = 0;
        loop {
            match self.pool.read(index) {
                // Fifteen readers are inside: each leaves after a page.
                Err(zsmalloc::Error::Busy) if !self.arena().is_forked() => {
                    crate::block::table::wait(self.arena(), &mut spins);
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        // Relaxed: the size bounds requests, and a table of the largest size is behind it.
        self.size.load(Ordering::Relaxed)
    }

    /// Returns the bytes that are compressed, and atomic, together.
    pub fn block_size(&self) -> usize {
        self.arena().options().page_size.bytes()
    }

    /// Returns the block behind the last one of the store, which may be shown in part.
    pub(crate) fn end(&self) -> BlockIndex {
        BlockIndex::behind(self.size(), wide(self.block_size()))
    }

    /// Makes the store larger. What is new reads as zeros.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the size is smaller than it was, above the largest that was asked for,
    /// or not a multiple of 512.
    pub fn resize(&self, size: u64) -> Result<(), Error> {
        check_size(size, self.table().end().start(wide(self.block_size())))?;
        // Relaxed: as in `size`.
        self.size
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                (size >= old).then_some(size)
            })
            .map(drop)
            .map_err(|old| {
                Error::Invalid(format!(
                    "a size of {size} bytes: it is {old}, and only grows"
                ))
            })
    }

    /// Runs what may find no memory; once more, if what nothing uses could be given back meanwhile.
    pub(crate) fn with_room<T>(
        &self,
        mut run: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match run() {
            Err(Error::NoMemory) if self.pool.trim() > 0 => run(),
            outcome => outcome,
        }
    }

    /// Returns the most bytes that the store may hold.
    pub fn limit(&self) -> u64 {
        self.arena().limit()
    }

    /// Returns the number of bytes of memory held, all metadata included
    /// ([`StoreStats::mem_used`](crate::StoreStats::mem_used)). A few loads.
    pub fn mem_used(&self) -> u64 {
        self.arena().stats().held
    }

    /// Sets the memory limit. From its return on no more is held.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is out of bounds, or less than is in use even after what can be
    /// given back has been.
    pub fn set_limit(&self, limit: u64) -> Result<(), Error> {
        if self.arena().set_limit(limit).is_ok() {
            return Ok(());
        }
        self.pool.trim();
        Ok(self.arena().set_limit(limit)?)
    }

    /// Sets a secondary algorithm, 1 to 3, to recompress with; a higher number is for what is
    /// smaller and slower. Cannot be changed any more.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number, [`Error::Busy`] if it is set, [`Error::Codec`],
    /// [`Error::NoMemory`] if the limit has no room for a stream: [`zcomp::Stream`] tells what
    /// each takes.
    pub fn set_secondary(
        &self,
        priority: u8,
        algorithm: Algorithm,
        dictionary: Option<Dictionary>,
    ) -> Result<(), Error> {
        if priority == 0 {
            return Err(Error::Invalid(
                "priority 0 is the primary algorithm: 1 to 3 are allowed".to_owned(),
            ));
        }
        self.set_codec(priority, algorithm, dictionary)
    }

    /// Returns the algorithms by priority, the primary one first.
    pub fn algorithms(&self) -> impl Iterator<Item = (u8, Algorithm)> + '_ {
        let get = |number| Some((number, self.codecs.get(number)?.algorithm));
        (0..=crate::block::content::MAX_PRIORITY).filter_map(get)
    }

    /// Attaches a client: while there is one, [`reset`](Self::reset) is refused.
    ///
    /// # Errors
    /// [`Error::Busy`] during a reset, or while somebody has it [alone](Self::alone).
    pub fn attach(&self) -> Result<Attachment<'_, B>, Error> {
        let mut attached = self.attached();
        if attached.alone {
            return Err(Error::Busy("the store is being reset or replaced"));
        }
        attached.clients += 1;
        Ok(Attachment(self))
    }

    fn attached(&self) -> std::sync::MutexGuard<'_, Attached> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Discards everything, lets the backing go, forgets the statistics, and gives memory back.
    /// Algorithms, size and limits stay. Who uses the store without being attached sees blocks
    /// discarded one by one.
    ///
    /// # Errors
    /// [`Error::Busy`] while a client is attached, or during another reset, a snapshot, a
    /// recompression or a writeback.
    pub fn reset(&self) -> Result<(), Error> {
        self.alone()?.reset()
    }

    /// Keeps clients from attaching: for a reset, or to put another store in the place of this one.
    ///
    /// # Errors
    /// [`Error::Busy`] while a client is attached, a snapshot is being written, or somebody else
    /// has the store alone.
    pub fn alone(&self) -> Result<Alone<'_, B>, Error> {
        let mut attached = self.attached();
        if attached.alone {
            return Err(Error::Busy("the store is being reset or replaced"));
        }
        if attached.clients > 0 {
            return Err(Error::Busy(
                "a client is attached, or a snapshot is being written",
            ));
        }
        attached.alone = true;
        Ok(Alone(self))
    }

    fn reset_everything(&self) -> Result<(), Error> {
        let _alone = self.writeback.begin_pass()?;
        self.discard_all()?;
        self.writeback.forget(self.arena());
        self.counters.forget_events();
        self.trim();
        self.arena().forget_peak();
        Ok(())
    }

    /// Seconds since the store was made, from 1 on.
    pub(crate) fn now(&self) -> u64 {
        (self.arena().host().now_ns() - self.start_ns) / 1_000_000_000 + 1
    }
}

/// A client of a store.
#[derive(Debug)]
pub struct Attachment<'a, B: Backing>(&'a Store<B>);

impl<B: Backing> Deref for Attachment<'_, B> {
    type Target = Store<B>;

    fn deref(&self) -> &Store<B> {
        self.0
    }
}

impl<B: Backing> Drop for Attachment<'_, B> {
    fn drop(&mut self) {
        self.0.attached().clients -= 1;
    }
}

/// A store that no client can attach to.
#[derive(Debug)]
pub struct Alone<'a, B: Backing>(&'a Store<B>);

impl<B: Backing> Alone<'_, B> {
    /// Works as [`Store::reset`]; clients stay out until this is dropped.
    ///
    /// # Errors
    /// [`Error::Busy`] during a recompression or a writeback.
    pub fn reset(&self) -> Result<(), Error> {
        self.0.reset_everything()
    }
}

impl<B: Backing> Drop for Alone<'_, B> {
    fn drop(&mut self) {
        self.0.attached().alone = false;
    }
}
