//! The failures that stores of this kind have had, one test a row (`r1_` ... `r26_`); those that need many threads on
//! one store are in `stress.rs`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{Fill, options, small_store};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;
use zram::*;
use zs_os::testing::{Call, Fault, FaultBacking, HeapBacking};

const BLOCK: usize = 4096;

fn store() -> Store<HeapBacking> {
    small_store(BlockSize::K4, false)
}

fn bare() -> Store<HeapBacking> {
    Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options(BlockSize::K4))
        .expect("a store")
}

fn text(seed: u64) -> Vec<u8> {
    Fill::Text(seed).bytes(BLOCK)
}

fn block(store: &Store<HeapBacking>, index: u64) -> Vec<u8> {
    let mut out = vec![0xaa; BLOCK];
    store
        .read(index * BLOCK as u64, &mut out)
        .expect("readable");
    out
}

fn write(store: &Store<HeapBacking>, index: u64, bytes: &[u8]) {
    store.write(index * BLOCK as u64, bytes).expect("room");
}

/// A backing file that tests hold up, or let fail.
#[derive(Clone, Default)]
struct TestFile(Arc<State>);

#[derive(Default)]
struct State {
    bytes: Mutex<Vec<u8>>,
    /// Writes that still succeed; negative: all do.
    good_writes: AtomicI64,
    /// Bytes that one write takes at most; 0 is all.
    short: AtomicU64,
    held: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicBool,
}

impl TestFile {
    fn new() -> Self {
        let file = Self::default();
        file.0.good_writes.store(-1, Ordering::SeqCst);
        file.0.bytes.lock().unwrap().resize(1 << 20, 0);
        file
    }

    fn hold(&self, held: bool) {
        *self.0.held.lock().unwrap() = held;
        self.0.changed.notify_all();
    }

    fn wait_until_somebody_waits(&self) {
        while !self.0.waiting.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }
}

impl BlockFile for TestFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        buffer.copy_from_slice(&self.0.bytes.lock().unwrap()[offset as usize..][..buffer.len()]);
        Ok(buffer.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut held = self.0.held.lock().unwrap();
        while *held {
            self.0.waiting.store(true, Ordering::SeqCst);
            held = self.0.changed.wait(held).unwrap();
        }
        match self.0.good_writes.load(Ordering::SeqCst) {
            0 => return Err(io::ErrorKind::StorageFull.into()),
            n if n > 0 => drop(self.0.good_writes.fetch_sub(1, Ordering::SeqCst)),
            _ => {}
        }
        let short = self.0.short.load(Ordering::SeqCst) as usize;
        let len = if short == 0 {
            bytes.len()
        } else {
            bytes.len().min(short)
        };
        self.0.bytes.lock().unwrap()[offset as usize..][..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }
}

fn with_file(file: &TestFile) -> Store<HeapBacking> {
    let store = bare();
    store
        .set_backing(BackingFile::new(file.clone(), 1 << 20))
        .expect("the first");
    store
}

/// Another thread rewrites the source all the time: what is stored is one copy of it, and the neighbours are intact.
#[test]
fn r1_a_source_that_changes_under_the_write() {
    let store = store();
    let source: Vec<AtomicU64> = (0..BLOCK / 8).map(|_| AtomicU64::new(0)).collect();
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    write(&store, 0, &text(1));
    write(&store, 2, &text(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(7);
            while !stop.load(Ordering::SeqCst) {
                let word = if random.bool() { random.u64(..) } else { 0 };
                source[random.usize(..source.len())].store(word, Ordering::SeqCst);
                changes.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut met = 0;
        while met < 60 {
            let before = changes.load(Ordering::SeqCst);
            let mut copied = Vec::new();
            let fill = |range: std::ops::Range<usize>, out: &mut [u8]| {
                for (word, cell) in out.chunks_exact_mut(8).zip(&source[range.start / 8..]) {
                    word.copy_from_slice(&cell.load(Ordering::SeqCst).to_ne_bytes());
                }
                copied = out.to_vec();
            };
            store.write_from(BLOCK as u64, BLOCK, fill).expect("room");
            met += u64::from(changes.load(Ordering::SeqCst) != before);
            assert!(block(&store, 1) == copied);
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(block(&store, 0) == text(1) && block(&store, 2) == text(2));
    assert_eq!(store.validate(), Ok(()));
}

/// A block is overwritten, or discarded, while its record is on its way: the newest wins, the extent is released once.
#[test]
fn r4_r5_r6_overwritten_and_discarded_during_writeback() {
    let file = TestFile::new();
    let store = with_file(&file);
    for index in 0..4 {
        write(&store, index, &text(index));
    }
    file.hold(true);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| store.writeback(&WritebackRequest::new(Which::All)));
        file.wait_until_somebody_waits();
        write(&store, 0, &text(100));
        store.discard(BLOCK as u64, BLOCK as u64).expect("in range");
        store.write(2 * BLOCK as u64 + 5, b"part").expect("room");
        assert!(matches!(store.reset(), Err(Error::Busy(_))));
        file.hold(false);
        let report = pass.join().expect("no panic").expect("it can be written");
        assert_eq!((report.blocks, report.changed), (1, 3));
    });
    let mut changed = text(2);
    changed[5..9].copy_from_slice(b"part");
    assert!(block(&store, 0) == text(100) && block(&store, 1) == vec![0; BLOCK]);
    assert!(block(&store, 2) == changed && block(&store, 3) == text(3));
    assert_eq!(store.validate(), Ok(()));
}

#[test]
fn r7_the_counter_of_raw_blocks_comes_back_to_zero() {
    let store = store();
    for index in 0..8 {
        write(&store, index, &Fill::Random(index).bytes(BLOCK));
    }
    assert_eq!(store.stats().huge_blocks, 8);
    store
        .writeback(&WritebackRequest {
            max_blocks: 4,
            ..WritebackRequest::new(Which::Huge)
        })
        .expect("alone");
    assert_eq!(store.stats().huge_blocks, 4);
    store.discard(0, store.size()).expect("in range");
    let stats = store.stats();
    assert_eq!(
        (stats.huge_blocks, stats.backing_blocks, stats.huge_since),
        (0, 0, 8)
    );
    assert_eq!(store.validate(), Ok(()));
}

/// Parts of written-back blocks: written, zeroed and discarded, at every edge.
#[test]
fn r8_r9_r16_parts_of_written_back_blocks() {
    for size in [BlockSize::K4, BlockSize::K16, BlockSize::K64] {
        let store = small_store(size, false);
        let len = store.block_size();
        for (start, part) in [
            (0, 512),
            (512, 512),
            (len - 512, 512),
            (1, len - 1),
            (len - 1, 2),
            (0, 0),
            (100, len),
        ] {
            let mut model = Fill::Text(3).bytes(2 * len);
            for discard in [false, true] {
                store.write(0, &model).expect("room");
                store
                    .writeback(&WritebackRequest::new(Which::All))
                    .expect("alone");
                assert_eq!(store.stats().backing_blocks, 2);
                let new = vec![if discard { 0 } else { 0xee }; part];
                match discard {
                    true => store.discard(start as u64, part as u64).expect("in range"),
                    false => store.write(start as u64, &new).expect("room"),
                }
                model[start..start + part].copy_from_slice(&new);
                let mut out = vec![0; 2 * len];
                store.read(0, &mut out).expect("readable");
                assert!(out == model, "{start}, {part}");
                assert_eq!(store.validate(), Ok(()));
            }
        }
    }
}

/// A failure at each call that makes a store, and then at each that its first writes need.
#[test]
fn r11_every_failure_of_setting_up() {
    let mut failures = 0;
    for call in [Call::Reserve, Call::Commit] {
        for n in 1..200 {
            let backing = FaultBacking::new(HeapBacking::new(4096));
            let control = backing.control();
            control.set(call, Fault::Nth(n));
            let store = Store::with_backing(backing, &zs_os::HOST, options(BlockSize::K4));
            let Ok(store) = store else {
                failures += 1;
                continue;
            };
            let mut written = Vec::new();
            for index in 0..8 {
                if store.write(index * BLOCK as u64, &text(index)).is_ok() {
                    written.push(index);
                }
            }
            failures += control.failed(call);
            assert!(written.len() >= 7, "one call failed: {written:?}");
            let mut out = vec![0; BLOCK];
            for index in 0..8 {
                store
                    .read(index * BLOCK as u64, &mut out)
                    .expect("readable");
                let expected = if written.contains(&index) {
                    text(index)
                } else {
                    vec![0; BLOCK]
                };
                assert!(out == expected);
            }
            store.reset().expect("nobody is attached");
            assert_eq!(store.validate(), Ok(()));
            if control.failed(call) == 0 {
                break;
            }
        }
    }
    assert!(failures > 3);
}

#[test]
fn r14_backings_that_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backing");
    let refusal =
        |path: &std::path::Path| BackingFile::open(path).expect_err("refused").to_string();
    assert!(refusal(&path).contains("opening the backing"));
    std::fs::write(&path, b"").expect("a file");
    assert!(refusal(&path).contains("is empty"));
    assert!(refusal(folder.path()).contains("directory"));
    std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let store = bare();
    store
        .set_backing(BackingFile::open(&path).expect("a file"))
        .expect("the first");
    assert!(refusal(&path).contains("somebody else"));
    let second = BackingFile::temporary(folder.path(), 1 << 20).expect("a file");
    assert!(matches!(store.set_backing(second), Err(Error::Busy(_))));
    store.reset().expect("nobody is attached");
    // Let go by the reset, and by a refusal.
    let short = BackingFile::open(&path).expect("free again");
    drop(short);
    std::fs::write(&path, vec![0; 100]).expect("a file");
    let short = BackingFile::open(&path).expect("a file");
    assert!(matches!(store.set_backing(short), Err(Error::Invalid(_))));
    drop(BackingFile::open(&path).expect("free again"));
}

#[test]
fn r15_idle_marks_are_exact() {
    let store = store();
    for index in 0..6 {
        write(&store, index, &text(index));
    }
    write(&store, 6, &[1; BLOCK]);
    assert_eq!(store.mark_idle(IdleRule::All).expect("marks"), 6);
    drop(block(&store, 0));
    write(&store, 1, &text(9));
    let wanted = Recompress {
        priority: 2,
        which: Which::Idle,
        threshold: 0,
        max_blocks: Some(1),
    };
    assert_eq!(store.recompress(&wanted).expect("alone").tried, 1);
    let request = WritebackRequest {
        max_blocks: 1,
        ..WritebackRequest::new(Which::Idle)
    };
    assert_eq!(store.writeback(&request).expect("alone").blocks, 1);
    // Two of six are left.
    let rest = store
        .writeback(&WritebackRequest::new(Which::Idle))
        .expect("alone");
    assert_eq!(rest.blocks, 2);
    assert_eq!(
        store
            .mark_idle(IdleRule::OlderThan(Duration::from_secs(3600)))
            .expect("marks"),
        0
    );
    assert_eq!(store.validate(), Ok(()));
}

#[test]
fn r20_no_reset_with_a_client() {
    let store = store();
    write(&store, 0, &text(1));
    let client = store.attach().expect("no reset");
    assert!(matches!(store.reset(), Err(Error::Busy(_))));
    assert!(block(&store, 0) == text(1));
    drop(client);
    store.reset().expect("nobody is attached");
    assert!(block(&store, 0) == vec![0; BLOCK]);
}

#[test]
fn r22_limits_of_writeback() {
    for size in [BlockSize::K4, BlockSize::K16, BlockSize::K64] {
        for limit in [0, 1, 3] {
            let store = small_store(size, false);
            store
                .write(0, &Fill::Random(1).bytes(2 * store.block_size()))
                .expect("room");
            store.set_writeback_limit(Some(limit));
            let report = store
                .writeback(&WritebackRequest::new(Which::All))
                .expect("alone");
            assert_eq!((report.end, report.blocks), (WritebackEnd::Limit, 0));
            assert_eq!(store.writeback_limit(), Some(limit));
            // Just enough for one record.
            let record = (store.block_size() as u64 + 16).next_multiple_of(128);
            store.set_writeback_limit(Some(record + 3));
            let report = store
                .writeback(&WritebackRequest::new(Which::All))
                .expect("alone");
            assert_eq!(
                (report.end, report.blocks, report.bytes),
                (WritebackEnd::Limit, 1, record)
            );
            assert_eq!(store.writeback_limit(), Some(3));
            assert_eq!(store.validate(), Ok(()));
        }
    }
}

/// The n-th write of the backing fails: nothing is lost, the budget comes back; short writes are gone on with.
#[test]
fn r22_a_backing_that_fails() {
    for good in 0..3 {
        let file = TestFile::new();
        let store = with_file(&file);
        for index in 0..12 {
            write(&store, index, &text(index));
        }
        file.0.good_writes.store(good, Ordering::SeqCst);
        file.0.short.store(1000, Ordering::SeqCst);
        store.set_writeback_limit(Some(1 << 20));
        let outcome = store.writeback(&WritebackRequest::new(Which::All));
        assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
        assert_eq!(store.writeback_limit(), Some(1 << 20));
        assert_eq!(store.validate(), Ok(()));
        file.0.good_writes.store(-1, Ordering::SeqCst);
        let report = store
            .writeback(&WritebackRequest::new(Which::All))
            .expect("it works again");
        assert_eq!(report.blocks, 12);
        assert_eq!(store.writeback_limit(), Some((1 << 20) - report.bytes));
        for index in 0..12 {
            assert!(block(&store, index) == text(index));
        }
        assert_eq!(store.validate(), Ok(()));
    }
}

/// A damaged record is an error, never another page.
#[test]
fn a_damaged_record_is_noticed() {
    let file = TestFile::new();
    let store = with_file(&file);
    write(&store, 0, &text(1));
    store
        .writeback(&WritebackRequest::new(Which::All))
        .expect("alone");
    file.0.bytes.lock().unwrap()[40] ^= 1;
    let error = store.read(0, &mut [0; 10]).expect_err("damaged");
    assert!(matches!(error, Error::Corrupt { block: 0, .. }), "{error}");
    write(&store, 0, &text(2));
    assert!(block(&store, 0) == text(2));
}

/// Eight writers at the limit: it holds, and what was there stays.
#[test]
fn r25_at_the_limit_old_data_stays() {
    let mut options = StoreOptions::new(64 << 20);
    options.limit = Some(4 << 20);
    options.max_size = Some(64 << 20);
    let store =
        Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options).expect("a store");
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (store, failed) = (&store, &failed);
            scope.spawn(move || {
                for round in 0..400 {
                    let index = thread * 256 + round % 200;
                    let at = index * BLOCK as u64;
                    let new = Fill::Random(thread << 32 | round).bytes(BLOCK);
                    let mut before = vec![0; BLOCK];
                    store.read(at, &mut before).expect("readable");
                    let outcome = store.write(at, &new);
                    let mut after = vec![0; BLOCK];
                    store.read(at, &mut after).expect("readable");
                    match outcome {
                        Ok(()) => assert!(after == new),
                        Err(Error::NoMemory) => {
                            assert!(after == before, "a failed write changed its block");
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => unreachable!("{error}"),
                    }
                    assert!(store.stats().mem_used <= 4 << 20);
                }
            });
        }
    });
    assert!(failed.load(Ordering::SeqCst) > 0, "the limit was never met");
    assert_eq!(store.stats().failed_writes, failed.load(Ordering::SeqCst));
    assert_eq!(store.validate(), Ok(()));
}

/// The n-th commit fails, for every n: the request fails and its block is as it was.
#[test]
fn r25_every_commit_fails_once() {
    let mut larger = options(BlockSize::K4);
    (larger.size, larger.max_size) = (1 << 20, None);
    for n in 1..8 {
        let backing = FaultBacking::new(HeapBacking::new(4096));
        let control = backing.control();
        let store = Store::with_backing(backing, &zs_os::HOST, larger.clone()).expect("a store");
        store.write(0, &text(0)).expect("room");
        control.set(Call::Commit, Fault::From(n));
        let mut model = vec![0; 100 * BLOCK];
        model[..BLOCK].copy_from_slice(&text(0));
        for round in 0..120_usize {
            let at = round * 7 % 100 * BLOCK;
            let new = Fill::Random(round as u64).bytes(BLOCK);
            match store.write(at as u64, &new) {
                Ok(()) => model[at..at + BLOCK].copy_from_slice(&new),
                Err(Error::NoMemory) => {}
                Err(error) => unreachable!("{error}"),
            }
        }
        let mut out = vec![0; 100 * BLOCK];
        store.read(0, &mut out).expect("readable");
        assert!(out == model);
        assert_eq!(store.validate(), Ok(()));
        if control.failed(Call::Commit) == 0 {
            assert!(n > 1, "no commit was met");
            return;
        }
    }
}

/// A block is locked for as long as its backing takes: others go on, and so does a reader of the block itself.
#[test]
fn r26_nobody_waits_for_another_block() {
    let file = TestFile::new();
    let store = with_file(&file);
    write(&store, 0, &text(0));
    write(&store, 1, &text(1));
    file.hold(true);
    let started = Barrier::new(2);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| {
            started.wait();
            store.writeback(&WritebackRequest::new(Which::All))
        });
        started.wait();
        file.wait_until_somebody_waits();
        // The pass hangs: every request on every block is answered.
        for index in 0..4 {
            assert!(
                block(&store, index)
                    == if index < 2 {
                        text(index)
                    } else {
                        vec![0; BLOCK]
                    }
            );
        }
        for index in 0..4 {
            write(&store, index, &text(index + 10));
        }
        store.discard(0, store.size()).expect("in range");
        file.hold(false);
        pass.join().expect("no panic").expect("it can be written");
    });
    assert_eq!(store.stats().orig_bytes, 0);
    assert_eq!(store.validate(), Ok(()));
}
