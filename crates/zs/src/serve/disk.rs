//! The disk that is served: a store as NBD sees it.
//!
//! # Locking
//! The store may be replaced by another one, but only while no client is attached to it: see [`StoreDisk::replace`]. Requests
//! look it up without a lock.

use arc_swap::ArcSwap;
use std::sync::Arc;
use zram::{Error, RangeKind, Store, Zeroes};
use zs_nbd::{BlockSizes, Content, Context, Device, Errno, Extents, Space};

/// Pieces of a block status that are asked for at once.
const PIECES: usize = 1024;

/// A store under a name.
pub(crate) struct StoreDisk {
    name: String,
    read_only: bool,
    store: ArcSwap<Store>,
}

impl StoreDisk {
    pub(crate) fn new(name: &str, read_only: bool, store: Store) -> Self {
        Self {
            name: name.to_owned(),
            read_only,
            store: ArcSwap::from_pointee(store),
        }
    }

    /// What clients call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The store of this moment.
    pub(crate) fn store(&self) -> Arc<Store> {
        self.store.load_full()
    }

    /// Puts another store in the place of this one.
    ///
    /// # Errors
    /// [`Error::Busy`] while a client is attached.
    pub(crate) fn replace(&self, new: Store) -> Result<(), Error> {
        let old = self.store();
        let _alone = old.alone()?;
        self.store.store(Arc::new(new));
        Ok(())
    }
}

impl Device for StoreDisk {
    fn attached(&self, session: &mut dyn FnMut()) -> Result<(), Errno> {
        loop {
            let store = self.store();
            let _client = store.attach().map_err(|error| of_read(&error))?;
            // Replaced before that: nothing but a store's client keeps it in its place.
            if Arc::ptr_eq(&store, &self.store.load()) {
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
        let store = self.store.load();
        let len = buf.len() as u64;
        let found = store.status(offset, len, 1);
        let found = found.map_err(|error| of_read(&error))?;
        if let [only] = found[..]
            && only.len == len
            && only.kind != RangeKind::Data
        {
            return Ok(Content::Zeroes);
        }
        let read = store.read(offset, buf);
        read.map_err(|error| of_read(&error))?;
        Ok(Content::Data)
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

    fn block_status(
        &self,
        offset: u64,
        extents: &mut Extents,
        context: Context,
    ) -> Result<(), Errno> {
        if context != Context::Allocation {
            return Err(Errno::NotSup);
        }
        let store = self.store.load();
        let mut at = offset;
        while extents.left() > 0 {
            let found = store.status(at, extents.left(), PIECES);
            for range in found.map_err(|error| of_read(&error))? {
                let status = match range.kind {
                    RangeKind::Data => Extents::DATA,
                    RangeKind::Zero => Extents::ZERO,
                    RangeKind::Hole => Extents::HOLE,
                };
                if !extents.push(range.len, status) {
                    return Ok(());
                }
                at += range.len;
            }
        }
        Ok(())
    }
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
        Error::OutOfRange { .. } | Error::NoMemory | Error::BackingFull => Errno::NoSpc,
        other => of_read(other),
    }
}
