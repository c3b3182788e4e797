//! The failures that stores of this kind have had, one test a row (`r1_` ... `r26_`): here those
//! about the making of a store, its size and its end. Others are in `requests.rs`, `limits.rs`,
//! `waiting.rs`, `dedup.rs`, `src/tests.rs` (a reader inside), `writeback*.rs`, `passes.rs`, and
//! `stress.rs` (many threads).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::{BLOCK, block, options, store, text, write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zram::*;
use zs_os::testing::{Call, Fault, FaultBacking, HeapBacking};

/// A failure at each call that makes a store, and then at each that its first writes need; then a
/// reset, and another use.
#[test]
fn r11_every_failure_of_setting_up() {
    for dedup in [false, true] {
        for call in [Call::Reserve, Call::Commit] {
            let failures = (1..200)
                .map(|n| fail_once(call, n, dedup))
                .take_while(|failed| *failed)
                .count();
            assert!((3..199).contains(&failures), "{failures} calls of {call:?}");
        }
    }
}

/// Whether there is an n-th call, which failed.
fn fail_once(call: Call, n: u64, dedup: bool) -> bool {
    let backing = FaultBacking::new(HeapBacking::new(4096));
    let control = backing.control();
    control.set(call, Fault::Nth(n));
    let mut options = options(BlockSize::K4);
    options.dedup = dedup;
    let store = match Store::with_backing(backing, &zs_os::HOST, options) {
        Ok(store) => store,
        Err(error) => {
            assert!(matches!(error, Error::NoMemory), "{error}");
            return true;
        }
    };
    let mut out = vec![0; BLOCK];
    for round in 0..2 {
        let mut refused = 0;
        for index in 0..8 {
            let at = index * BLOCK as u64;
            let bytes = text(index + 10 * round);
            let outcome = store.write(at, &bytes);
            store.read(at, &mut out).expect("readable");
            match outcome {
                Ok(()) => assert!(out == bytes),
                Err(Error::NoMemory) => assert!(out == vec![0; BLOCK]),
                Err(error) => unreachable!("{error}"),
            }
            refused += u64::from(out != bytes);
        }
        assert!(refused <= control.failed(call), "one call failed");
        assert_eq!(store.validate(), Ok(()));
        store.reset().expect("nobody is attached");
        assert_eq!(store.validate(), Ok(()));
    }
    control.failed(call) > 0
}

/// Statistics, status and resets while the store grows and its new end is written: what was written
/// beyond a size that was read before is found, or reset.
#[test]
fn r10_resize_and_reset_beside_statistics_and_writes() {
    const MOST: u64 = 4096;
    let mut larger = options(BlockSize::K4);
    (larger.size, larger.max_size) = (BLOCK as u64, Some(MOST * BLOCK as u64));
    let store = Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, larger).expect("a store");
    let (stop, looks, resets) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let stats = store.stats();
                assert!(stats.orig_bytes <= MOST * BLOCK as u64);
                assert!(stats.mem_used <= stats.mem_limit);
                let ranges = store
                    .status(0, stats.size, usize::MAX)
                    .expect("it only grows");
                let sum: u64 = ranges.iter().map(|range| range.len).sum();
                assert_eq!(sum, stats.size);
                looks.fetch_add(1, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                match store.reset() {
                    Ok(()) => drop(resets.fetch_add(1, Ordering::SeqCst)),
                    Err(error) => assert!(matches!(error, Error::Busy(_)), "{error}"),
                }
            }
        });
        for index in 1..MOST {
            store.resize((index + 1) * BLOCK as u64).expect("larger");
            write(&store, index, &text(index));
            let found = block(&store, index);
            assert!(found == text(index) || found == vec![0; BLOCK]);
            let client = index.is_multiple_of(64).then(|| store.attach());
            if let Some(Ok(_)) = client {
                assert!(matches!(store.reset(), Err(Error::Busy(_))));
                write(&store, index, &text(1));
                assert!(block(&store, index) == text(1));
            }
        }
        // Neither of them must have come too late.
        while looks.load(Ordering::SeqCst) == 0 || resets.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(store.validate(), Ok(()));
    store.reset().expect("nobody is attached");
    assert_eq!(store.stats().orig_bytes, 0);
    assert_eq!(store.validate(), Ok(()));
}

#[test]
fn r20_no_reset_with_a_client() {
    let store = store();
    write(&store, 0, &text(1));
    let client = store.attach().expect("no reset");
    assert!(matches!(store.reset(), Err(Error::Busy(_))));
    assert!(block(&store, 0) == text(1));
    let second = store.attach().expect("several may be");
    drop(client);
    assert!(matches!(store.reset(), Err(Error::Busy(_))));
    drop(second);
    store.reset().expect("nobody is attached");
    assert!(block(&store, 0) == vec![0; BLOCK]);
}

/// A file each of whose writes is a moment for something else.
struct Meanwhile<F>(F);

impl<F: Fn()> std::io::Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a reset leaves would be a snapshot by halves; and during a reset none begins.
#[test]
fn r20_no_reset_beside_a_snapshot() {
    let store = store();
    write(&store, 0, &text(0));
    let refused = AtomicU64::new(0);
    let reset = || {
        assert!(matches!(store.reset(), Err(Error::Busy(_))));
        refused.fetch_add(1, Ordering::SeqCst);
    };
    store.snapshot(Meanwhile(reset)).expect("nothing fails");
    // At the header, at the block, at the end.
    assert_eq!(refused.load(Ordering::SeqCst), 3);
    let alone = store.alone().expect("it is written");
    let outcome = store.snapshot(std::io::sink());
    assert!(matches!(outcome, Err(Error::Busy(_))), "{outcome:?}");
    drop(alone);
    store.reset().expect("nobody is attached");
}

/// Clients come while a reset is under way: they are told to wait, and find nothing afterwards.
#[test]
fn r20_no_client_during_a_reset() {
    let store = store();
    let (refused, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                match store.attach() {
                    Ok(client) => {
                        let found = block(&client, 3);
                        assert!(found == vec![0; BLOCK] || found == text(3));
                        write(&client, 3, &text(3));
                        assert!(block(&client, 3) == text(3), "reset under a client");
                    }
                    Err(error) => {
                        assert!(matches!(error, Error::Busy(_)), "{error}");
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        for _ in 0..100 {
            // The client is attached now and then only.
            let alone = loop {
                match store.alone() {
                    Ok(alone) => break alone,
                    Err(_) => std::thread::yield_now(),
                }
            };
            let before = refused.load(Ordering::SeqCst);
            while refused.load(Ordering::SeqCst) == before {
                std::thread::yield_now();
            }
            alone.reset().expect("nobody is attached");
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(store.validate(), Ok(()));
}
