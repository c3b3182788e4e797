//! The failures that stores of this kind have had, one test a row (`r1_` ... `r26_`); those that need many threads on
//! one store are in `stress.rs`, those of writeback and other passes in `writeback*.rs` and `passes.rs`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::file::{TestFile, with_file};
use common::{BLOCK, Fill, block, options, store, text, write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zram::*;
use zs_os::testing::{Call, Fault, FaultBacking, HeapBacking};

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
