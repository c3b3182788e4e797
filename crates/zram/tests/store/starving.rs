//! Whether a writer comes through beside readers that never pause.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::Fill;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zram::*;
use zs_os::AnonBacking;

/// Reads of all threads after which the writer must be done: many times what it takes.
const READS: u64 = 20_000;
const OVERWRITES: u64 = 20;
const LEN: usize = 64 << 10;

/// Blocks of 64 KiB with zstd, which are read for long: each overwrite of one waits for a few reads
/// of it.
#[test]
fn a_writer_comes_through_beside_readers() {
    for readers in [1, 2, 3] {
        let mut options = StoreOptions::new(16 * LEN as u64);
        options.block_size = BlockSize::K64;
        options.algorithm = "zstd:1".parse().expect("an algorithm");
        options.limit = Some(16 << 20);
        let store = Store::<AnonBacking>::new(options).expect("a store");
        store.write(0, &Fill::Text(0).bytes(LEN)).expect("room");
        let (reads, done) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| {
                    let mut out = vec![0; LEN];
                    while !done.load(Ordering::SeqCst) && reads.load(Ordering::SeqCst) < READS {
                        store.read(0, &mut out).expect("readable");
                        reads.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for round in 1..=OVERWRITES {
                store.write(0, &Fill::Text(round).bytes(LEN)).expect("room");
            }
            done.store(true, Ordering::SeqCst);
        });
        let reads = reads.load(Ordering::SeqCst);
        assert!(reads < READS, "{readers} readers kept the writer out");
        assert!(reads > 0, "nobody read");
        assert_eq!(store.validate(), Ok(()));
    }
}
