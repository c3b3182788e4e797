//! The disk that is served: a store as NBD sees it.
//!
//! # Locking
//! The store may be replaced by another one, but only while no client is attached to it: see [`StoreDisk::load`]. Requests look
//! it up without a lock.

use super::disks::Backing;
use arc_swap::ArcSwap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zram::{Error, RangeKind, SnapshotOptions, Store, StoreOptions, Zeroes};
use zs_nbd::{BlockSizes, Content, Context, Device, Errno, Extents, Space};

/// Pieces of a block status that are asked for at once.
const PIECES: usize = 1024;

/// A store under a name.
pub(super) struct StoreDisk {
    name: String,
    read_only: bool,
    /// What the first store was made with.
    options: StoreOptions,
    backing: Option<Backing>,
    store: ArcSwap<Store>,
    clients: AtomicU64,
}

impl StoreDisk {
    /// A disk with a store that `options` describe, which has its backing.
    pub(super) fn new(
        name: &str,
        read_only: bool,
        options: StoreOptions,
        backing: Option<Backing>,
        store: Store,
    ) -> Self {
        Self {
            name: name.to_owned(),
            read_only,
            options,
            backing,
            store: ArcSwap::from_pointee(store),
            clients: AtomicU64::new(0),
        }
    }

    /// What clients call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The store of this moment.
    pub(super) fn store(&self) -> Arc<Store> {
        self.store.load_full()
    }

    /// Clients that are connected.
    pub(super) fn clients(&self) -> u64 {
        // Relaxed: a figure for people.
        self.clients.load(Ordering::Relaxed)
    }

    /// Forgets everything. The backing is a new one, or the same one made empty.
    ///
    /// # Errors
    /// [`Error::Busy`] while a client is attached; what a backing may answer.
    pub(super) fn reset(&self) -> Result<(), Error> {
        let store = self.store();
        let alone = store.alone()?;
        alone.reset()?;
        self.give_backing(&store)
    }

    /// Puts a snapshot's store in the place of this one, as soon as all of it is read. Limit and options stay.
    ///
    /// # Errors
    /// [`Error::Busy`] while a client is attached, [`Error::Snapshot`], and what a backing may answer: only then the old
    /// contents are gone.
    pub(super) fn load(&self, from: impl Read) -> Result<(), Error> {
        let old = self.store();
        // Not for nothing: this is asked again when everything is read.
        drop(old.alone()?);
        let mut options = SnapshotOptions::default();
        options.limit = Some(old.limit());
        options.max_size = self.options.max_size;
        options.largest = self.options.max_size;
        options.dedup = self.options.dedup;
        options.track_access = self.options.track_access;
        let new = Store::load(from, &options)?;
        let alone = old.alone()?;
        // Lets go of the backing, too, which can be locked only once.
        alone.reset()?;
        let given = self.give_backing(&new);
        self.store.store(Arc::new(new));
        given
    }

    fn give_backing(&self, store: &Store) -> Result<(), Error> {
        let backing = self.backing.as_ref();
        backing.map_or(Ok(()), |backing| backing.give(store))
    }
}

/// A client, counted until it goes.
struct Client<'a>(&'a AtomicU64);

impl<'a> Client<'a> {
    fn come(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Device for StoreDisk {
    fn attached(&self, session: &mut dyn FnMut()) -> Result<(), Errno> {
        loop {
            let store = self.store();
            let _client = store.attach().map_err(|error| of_read(&error))?;
            // Replaced before that: nothing but a store's client keeps it in its place.
            if Arc::ptr_eq(&store, &self.store.load()) {
                let _counted = Client::come(&self.clients);
                session();
                return Ok(());
            }
        }
    }

    fn size(&self) -> u64 {
        self.store.load().size()
    }

    fn block_sizes(&self) -> BlockSizes {
        BlockSizes {
            // At most 64 KiB.
            preferred: self.store.load().block_size() as u32,
            ..BlockSizes::default()
        }
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<Content, Errno> {
        match self.store.load().read_unless_zeroes(offset, buf) {
            Ok(true) => Ok(Content::Data),
            Ok(false) => Ok(Content::Zeroes),
            Err(error) => Err(of_read(&error)),
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let written = self.store.load().write(offset, bytes);
        written.map_err(|error| of_write(&error))
    }

    fn write_zeroes(&self, offset: u64, len: u64, space: Space) -> Result<(), Errno> {
        let zeroes = match space {
            Space::MayFree => Zeroes::Hole,
            Space::Keep => Zeroes::Allocated,
        };
        let written = self.store.load().write_zeroes(offset, len, zeroes);
        written.map_err(|error| of_write(&error))
    }

    fn trim(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let discarded = self.store.load().discard(offset, len);
        discarded.map_err(|error| of_write(&error))
    }

    fn zeroes_fast(&self) -> bool {
        // No block is compressed, but for the two at the ends of a range that begins and ends within one.
        true
    }

    fn flush(&self) -> Result<(), Errno> {
        let flushed = self.store.load().flush();
        flushed.map_err(|error| of_write(&error))
    }

    fn knows(&self, _context: Context) -> bool {
        true
    }

    fn block_status(
        &self,
        offset: u64,
        extents: &mut Extents,
        context: Context,
    ) -> Result<(), Errno> {
        let store = self.store.load();
        let mut at = offset;
        while extents.left() > 0 {
            let found = states(&store, at, extents.left(), context);
            for (len, state) in found.map_err(|error| of_read(&error))? {
                if !extents.push(len, state) {
                    return Ok(());
                }
                at += len;
            }
        }
        Ok(())
    }
}

/// Lengths and states from `offset` on, some of them.
fn states(
    store: &Store,
    offset: u64,
    len: u64,
    context: Context,
) -> Result<Vec<(u64, u64)>, Error> {
    let allocation = |kind| match kind {
        RangeKind::Data => Extents::DATA,
        RangeKind::Zero => Extents::ZERO,
        RangeKind::Hole => Extents::HOLE,
    };
    Ok(match context {
        Context::Allocation => {
            let found = store.status(offset, len, PIECES)?.into_iter();
            found.map(|one| (one.len, allocation(one.kind))).collect()
        }
        Context::StoredSize => {
            let found = store.stored_sizes(offset, len, PIECES)?.into_iter();
            found.map(|one| (one.len, one.stored)).collect()
        }
    })
}

/// What a client is told of a request that reads.
fn of_read(error: &Error) -> Errno {
    match error {
        Error::OutOfRange { .. } | Error::Invalid(_) => Errno::Inval,
        Error::NoMemory => Errno::NoMem,
        Error::Busy(_) => Errno::Shutdown,
        _ => Errno::Io,
    }
}

/// What a client is told of a request that writes: a full store is a full disk.
fn of_write(error: &Error) -> Errno {
    match error {
        Error::OutOfRange { .. } | Error::NoMemory => Errno::NoSpc,
        other => of_read(other),
    }
}
