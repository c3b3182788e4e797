//! At the limit, and when the system refuses memory.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::{BLOCK, Fill, options, text};
use std::sync::atomic::{AtomicU64, Ordering};
use zram::*;
use zs_os::testing::{Call, Fault, FaultBacking, HeapBacking};

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
    (larger.size, larger.max_size) = (1 << 20, Some(1 << 20));
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

/// `lim.py`: a store is made small, with a small limit; later both grow, and all of it can be
/// written.
#[test]
fn a_limit_and_a_size_that_grow_are_reserved_for() {
    const GROWN: u64 = 64 << 20;
    let mut wanted = StoreOptions::new(1 << 20);
    (wanted.limit, wanted.max_size) = (Some(4 << 20), Some(GROWN));
    let store = Store::new(wanted).expect("a store");
    store.set_limit(2 * GROWN).expect("a higher limit");
    store.resize(GROWN).expect("within the largest size");
    for at in (0..GROWN).step_by(1 << 20) {
        let bytes = Fill::Random(at).bytes(1 << 20);
        store.write(at, &bytes).expect("far below the limit");
    }
    assert!(store.stats().mem_used > GROWN);
    assert_eq!(store.validate(), Ok(()));
}
