//! A backing file that tests hold up, or let fail.

use super::bare;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use zram::*;
use zs_os::testing::HeapBacking;

/// Bytes of the file.
pub(crate) const FILE: u64 = 1 << 20;

/// A file in memory. Clones are the same file.
#[derive(Clone)]
pub(crate) struct TestFile(Arc<State>);

struct State {
    bytes: Mutex<Vec<u8>>,
    good_writes: AtomicI64,
    good_reads: AtomicI64,
    good_syncs: AtomicI64,
    syncs: AtomicUsize,
    punched: AtomicUsize,
    /// The file as it was when it was synced last.
    synced: Mutex<Vec<u8>>,
    lose_unsynced: AtomicBool,
    bad_every: AtomicUsize,
    panics_at_sync: AtomicBool,
    syncs_held: Mutex<bool>,
    punches_held: Mutex<bool>,
    short: AtomicUsize,
    lost: AtomicBool,
    panics: AtomicBool,
    held: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicUsize,
}

/// One call less that succeeds; whether this one does.
fn is_good(left: &AtomicI64) -> bool {
    let take = |left| (left != 0).then_some(if left > 0 { left - 1 } else { left });
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
        .is_ok()
}

impl TestFile {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            bytes: Mutex::new(vec![0; FILE as usize]),
            good_writes: AtomicI64::new(-1),
            good_reads: AtomicI64::new(-1),
            good_syncs: AtomicI64::new(-1),
            syncs: AtomicUsize::new(0),
            punched: AtomicUsize::new(0),
            synced: Mutex::new(vec![0; FILE as usize]),
            lose_unsynced: AtomicBool::new(false),
            bad_every: AtomicUsize::new(usize::MAX),
            panics_at_sync: AtomicBool::new(false),
            syncs_held: Mutex::new(false),
            punches_held: Mutex::new(false),
            short: AtomicUsize::new(usize::MAX),
            lost: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            held: Mutex::new(false),
            changed: Condvar::new(),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Reads and writes wait from now on, or go on.
    pub(crate) fn hold(&self, held: bool) {
        *self.0.held.lock().unwrap() = held;
        self.0.changed.notify_all();
    }

    pub(crate) fn wait_until_somebody_waits(&self) {
        self.wait_until_wait(1);
    }

    /// Until so many calls wait at once.
    pub(crate) fn wait_until_wait(&self, calls: usize) {
        while self.0.waiting.load(Ordering::SeqCst) < calls {
            std::thread::yield_now();
        }
    }

    fn wait_while_held(&self) {
        self.wait_while(&self.0.held);
    }

    fn wait_while(&self, held: &Mutex<bool>) {
        let mut held = held.lock().unwrap();
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        while *held {
            held = self.0.changed.wait(held).unwrap();
        }
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Writes are said to succeed, and do nothing.
    pub(crate) fn lose_writes(&self, lost: bool) {
        self.0.lost.store(lost, Ordering::SeqCst);
    }

    /// Writes panic.
    pub(crate) fn panic(&self, panics: bool) {
        self.0.panics.store(panics, Ordering::SeqCst);
    }

    /// So many writes succeed, and then none; all of them if negative.
    pub(crate) fn good_writes(&self, count: i64) {
        self.0.good_writes.store(count, Ordering::SeqCst);
    }

    /// The same for reads.
    pub(crate) fn good_reads(&self, count: i64) {
        self.0.good_reads.store(count, Ordering::SeqCst);
    }

    /// So many syncs succeed; one fails, and then they succeed again.
    pub(crate) fn good_syncs(&self, count: i64) {
        self.0.good_syncs.store(count, Ordering::SeqCst);
    }

    /// Each n-th sync fails.
    pub(crate) fn bad_every(&self, n: usize) {
        self.0.bad_every.store(n, Ordering::SeqCst);
    }

    pub(crate) fn syncs(&self) -> usize {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// A sync that fails takes back what was written since the last one.
    pub(crate) fn lose_unsynced(&self, lose: bool) {
        self.0.lose_unsynced.store(lose, Ordering::SeqCst);
    }

    /// Syncs panic.
    pub(crate) fn panic_at_sync(&self, panics: bool) {
        self.0.panics_at_sync.store(panics, Ordering::SeqCst);
    }

    /// Syncs wait from now on, or go on.
    pub(crate) fn hold_syncs(&self, held: bool) {
        *self.0.syncs_held.lock().unwrap() = held;
        self.0.changed.notify_all();
    }

    /// Holes wait, after their bytes have gone, or go on.
    pub(crate) fn hold_punches(&self, held: bool) {
        *self.0.punches_held.lock().unwrap() = held;
        self.0.changed.notify_all();
    }

    /// Waits until so many bytes have become holes.
    pub(crate) fn wait_until_punched(&self, bytes: usize) {
        while self.0.punched.load(Ordering::SeqCst) < bytes {
            std::thread::yield_now();
        }
    }

    /// No call takes more bytes than that.
    pub(crate) fn at_most(&self, bytes: usize) {
        self.0.short.store(bytes, Ordering::SeqCst);
    }

    /// The file's bytes, to be changed as a test likes.
    pub(crate) fn bytes<T>(&self, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        change(&mut self.0.bytes.lock().unwrap())
    }

    fn part(&self, len: usize) -> usize {
        len.min(self.0.short.load(Ordering::SeqCst))
    }
}

impl BlockFile for TestFile {
    fn sync(&self) -> io::Result<()> {
        self.wait_while(&self.0.syncs_held);
        assert!(
            !self.0.panics_at_sync.load(Ordering::SeqCst),
            "as the test asks"
        );
        let mut synced = self.0.synced.lock().unwrap();
        let number = self.0.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        let every = self.0.bad_every.load(Ordering::SeqCst);
        if is_good(&self.0.good_syncs) && !number.is_multiple_of(every) {
            self.bytes(|bytes| synced.clone_from(bytes));
            return Ok(());
        }
        // What was lost is told once: the next call knows nothing of it.
        self.0.good_syncs.store(-1, Ordering::SeqCst);
        if self.0.lose_unsynced.load(Ordering::SeqCst) {
            self.bytes(|bytes| bytes.clone_from(&synced));
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.wait_while(&self.0.punches_held);
        self.bytes(|bytes| {
            let end = bytes.len().min((offset + len) as usize);
            bytes[offset as usize..end].fill(0);
        });
        self.0.punched.fetch_add(len as usize, Ordering::SeqCst);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.wait_while_held();
        if !is_good(&self.0.good_reads) {
            return Err(io::Error::other("a read that fails"));
        }
        self.bytes(|bytes| {
            let there = bytes.get(offset as usize..).unwrap_or_default();
            let len = self.part(buffer.len()).min(there.len());
            buffer[..len].copy_from_slice(&there[..len]);
            Ok(len)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.wait_while_held();
        assert!(!self.0.panics.load(Ordering::SeqCst), "as the test asks");
        if !is_good(&self.0.good_writes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = self.part(bytes.len());
        if self.0.lost.load(Ordering::SeqCst) {
            return Ok(len);
        }
        self.bytes(|file| {
            let end = offset as usize + len;
            file.resize(file.len().max(end), 0);
            file[offset as usize..end].copy_from_slice(&bytes[..len]);
        });
        Ok(len)
    }
}

/// A store that writes back to this file.
pub(crate) fn with_file(file: &TestFile) -> Store<HeapBacking> {
    with_file_of(file, FILE)
}

/// The same, with only so many bytes of it.
pub(crate) fn with_file_of(file: &TestFile, bytes: u64) -> Store<HeapBacking> {
    let store = bare();
    store
        .set_backing(BackingFile::new(file.clone(), bytes))
        .expect("the first");
    store
}

/// Writes all blocks back that there are.
pub(crate) fn write_back(store: &Store<HeapBacking>) -> WritebackReport {
    store
        .writeback(&WritebackRequest::new(BlockFilter::All))
        .expect("alone")
}
