//! The disk that is served: a store as NBD sees it.
//!
//! # Locking
//! The store may be replaced by another one, but only while no client is attached to it: see
//! [`StoreDisk::load`]. Requests look it up without a lock. A load or reset holds `replacing` from
//! its begin to its end, and finds it held with [`Error::Busy`]: the store that it
//! began with is the one that it replaces.

use super::backing::Backing;
use super::fullness::Fullness;
use crate::output;
use arc_swap::ArcSwap;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use zram::{Error, RangeKind, SnapshotOptions, Store, StoreOptions, StoreStats, Zeroes};
use zs_nbd::{BlockSizes, Content, Context, Device, Errno, Extents, Space};

#[cfg(test)]
mod tests;

/// Pieces of a block status that are asked for at once.
const PIECES: usize = 1024;

/// A store under a name.
pub(super) struct StoreDisk {
    name: String,
    read_only: bool,
    /// The options of the first store.
    options: StoreOptions,
    backing: Option<Backing>,
    store: ArcSwap<Store>,
    replacing: Mutex<()>,
    /// The contents are the last ones. Held while others come in their place.
    sealed: Mutex<bool>,
    clients: AtomicU64,
    /// How often all of it was replaced or given another size: by a reset, a load, a resize.
    generation: AtomicU64,
    /// The changes after which a file had the contents; none has them, otherwise.
    kept: Mutex<Option<Changes>>,
    fullness: Fullness,
}

/// How often a disk was changed. A store counts from 0 again when it is reset or loaded, so that is
/// counted, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    generation: u64,
    requests: u64,
}

impl StoreDisk {
    /// Makes a disk with a store that `options` describe, which has its backing.
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
            replacing: Mutex::default(),
            sealed: Mutex::default(),
            clients: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            kept: Mutex::default(),
            fullness: Fullness::default(),
        }
    }

    /// Returns how often the disk was changed so far; the default as long as it never was.
    pub(super) fn changes(&self) -> Changes {
        self.changes_of(&self.store().stats())
    }

    fn changes_of(&self, stats: &StoreStats) -> Changes {
        Changes {
            // Relaxed: who changes a disk and then saves it waits for the answer in between.
            generation: self.generation.load(Ordering::Relaxed),
            requests: stats.writes + stats.discards + stats.failed_writes,
        }
    }

    /// Notes that the disk is another one now: no file has it.
    pub(super) fn note_replaced(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers that a file has the contents as they were after these changes; `None`, that no
    /// file has them.
    pub(super) fn keep(&self, changes: Option<Changes>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = changes;
    }

    /// Returns the number of bytes of blocks that hold something, and that end with the server: no
    /// file has them.
    pub(super) fn unkept(&self) -> u64 {
        let stats = self.store().stats();
        let kept = *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept == Some(self.changes_of(&stats)) {
            true => 0,
            false => stats.orig_bytes,
        }
    }

    /// Tells people when the disk becomes full, and when it is so no longer.
    fn tell(&self, store: &Store, written: &Result<(), Error>) {
        if let Some(text) = self.fullness.after(store, written) {
            output::note(&format!("{} {text}", self.title()));
        }
    }

    /// Returns how people are told of it.
    pub(super) fn title(&self) -> String {
        match self.name.as_str() {
            "" => "the disk".to_owned(),
            name => format!("the disk {name:?}"),
        }
    }

    /// Returns what clients call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the store of this moment.
    pub(super) fn store(&self) -> Arc<Store> {
        self.store.load_full()
    }

    /// Clients that are connected.
    pub(super) fn clients(&self) -> u64 {
        // Relaxed: a figure for people.
        self.clients.load(Ordering::Relaxed)
    }

    fn replacing(&self) -> Result<MutexGuard<'_, ()>, Error> {
        match self.replacing.try_lock() {
            Ok(guard) => Ok(guard),
            // It guards nothing that can be half done.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::Busy(
                "another load or reset of the disk is under way",
            )),
        }
    }

    /// Keeps the contents from being replaced from now on: they are going to be saved. Waits for a
    /// replacement that has begun, but not for a snapshot that is still being read.
    pub(super) fn seal(&self) {
        *self.sealed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Returns the right to replace the contents.
    fn unsealed(&self) -> Result<MutexGuard<'_, bool>, Error> {
        let sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        match *sealed {
            true => Err(Error::Busy("the server ends, and saves the contents")),
            false => Ok(sealed),
        }
    }

    /// Forgets everything. The backing is a new one, or the same one made empty.
    ///
    /// # Errors
    /// [`Error::Busy`] while a client is attached, or beside a load or another reset; what a
    /// backing may answer.
    pub(super) fn reset(&self) -> Result<(), Error> {
        let _replacing = self.replacing()?;
        let _unsealed = self.unsealed()?;
        let store = self.store();
        let alone = store.alone()?;
        let backing = self.backing.as_ref().map(Backing::file).transpose()?;
        self.note_replaced();
        alone.reset()?;
        backing.map_or(Ok(()), |file| store.set_backing(file))
    }

    /// Puts a snapshot's store in the place of this one, as soon as all of it is read. Limits and
    /// options stay. With a temporary backing, a new one takes what the limit has no room for;
    /// a file is not free before the old contents are gone.
    ///
    /// # Errors
    /// [`Error::Busy`] while a client is attached, or beside another load or a reset;
    /// [`Error::Snapshot`]; [`Error::NoMemory`] if limit and backing have no room for it; what
    /// a backing may answer. The old contents stay then.
    pub(super) fn load(&self, from: impl Read) -> Result<(), Error> {
        let _replacing = self.replacing()?;
        let old = self.store();
        // Not for nothing: this is asked again when everything is read.
        drop(old.alone()?);
        let options = as_loaded(&self.options, old.limit());
        let new = match &self.backing {
            Some(backing @ Backing::Temporary { .. }) => {
                Store::load_with_file(from, &options, backing.file()?)?
            }
            _ => Store::load(from, &options)?,
        };
        let _unsealed = self.unsealed()?;
        let alone = old.alone()?;
        // It may have been set meanwhile.
        new.set_limit(old.limit())?;
        if let Some(Backing::File(file)) = &self.backing {
            // Both have it now, but the new one writes nothing before it is in its place, and the
            // old one nothing after.
            new.set_backing(file.clone())?;
        }
        alone.reset()?;
        // Nothing is written back any more, so that this is what is left of it.
        new.set_writeback_limit(old.writeback_limit());
        self.note_replaced();
        let loaded = self.changes_of(&new.stats());
        self.store.store(Arc::new(new));
        self.keep(Some(loaded));
        Ok(())
    }
}

/// Returns what options of a disk hold for a store that is loaded.
pub(super) fn as_loaded(disk: &StoreOptions, limit: u64) -> SnapshotOptions {
    let mut options = SnapshotOptions::default();
    options.limit = Some(limit);
    options.max_limit = disk.max_limit.map(|most| most.max(limit));
    options.max_size = disk.max_size;
    options.largest = disk.max_size;
    options.dedup = disk.dedup;
    options.track_access = disk.track_access;
    options.raw_above = disk.raw_above;
    options
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
        let store = self.store.load();
        let written = store.write(offset, bytes);
        self.tell(&store, &written);
        written.map_err(|error| of_write(&error))
    }

    fn write_zeroes(&self, offset: u64, len: u64, space: Space) -> Result<(), Errno> {
        let zeroes = match space {
            Space::MayFree => Zeroes::Hole,
            Space::Keep => Zeroes::Allocated,
        };
        let store = self.store.load();
        let written = store.write_zeroes(offset, len, zeroes);
        self.tell(&store, &written);
        written.map_err(|error| of_write(&error))
    }

    fn trim(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let store = self.store.load();
        let discarded = store.discard(offset, len);
        self.tell(&store, &discarded);
        discarded.map_err(|error| of_write(&error))
    }

    fn zeroes_fast(&self) -> bool {
        // No block is compressed, but for the two at the ends of a range that begins and ends
        // within one.
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

/// Returns what a client is told of a request that reads.
fn of_read(error: &Error) -> Errno {
    match error {
        Error::OutOfRange { .. } | Error::Invalid(_) => Errno::Inval,
        Error::NoMemory => Errno::NoMem,
        Error::Busy(_) => Errno::Shutdown,
        _ => Errno::Io,
    }
}

/// Returns what a client is told of a request that writes: a full store is a full disk.
fn of_write(error: &Error) -> Errno {
    match error {
        Error::OutOfRange { .. } | Error::NoMemory => Errno::NoSpc,
        other => of_read(other),
    }
}
