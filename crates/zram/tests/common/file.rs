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
    short: AtomicUsize,
    held: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicBool,
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
            short: AtomicUsize::new(usize::MAX),
            held: Mutex::new(false),
            changed: Condvar::new(),
            waiting: AtomicBool::new(false),
        }))
    }

    /// Writes wait from now on, or go on.
    pub(crate) fn hold(&self, held: bool) {
        *self.0.held.lock().unwrap() = held;
        self.0.changed.notify_all();
    }

    pub(crate) fn wait_until_somebody_waits(&self) {
        while !self.0.waiting.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }

    /// So many writes succeed, and then none; all of them if negative.
    pub(crate) fn good_writes(&self, count: i64) {
        self.0.good_writes.store(count, Ordering::SeqCst);
    }

    /// The same for reads.
    pub(crate) fn good_reads(&self, count: i64) {
        self.0.good_reads.store(count, Ordering::SeqCst);
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
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
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
        let mut held = self.0.held.lock().unwrap();
        while *held {
            self.0.waiting.store(true, Ordering::SeqCst);
            held = self.0.changed.wait(held).unwrap();
        }
        drop(held);
        if !is_good(&self.0.good_writes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = self.part(bytes.len());
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
    let store = bare();
    store
        .set_backing(BackingFile::new(file.clone(), FILE))
        .expect("the first");
    store
}
