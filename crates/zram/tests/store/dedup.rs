//! Deduplication: full stores, memory, and what it refuses.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::{BLOCK, Fill};
use std::sync::atomic::{AtomicU64, Ordering};
use zram::*;
use zs_os::testing::HeapBacking;

fn store(blocks: u64, limit: u64) -> Store<HeapBacking> {
    let mut options = StoreOptions::new(blocks * BLOCK as u64);
    options.max_size = Some(options.size);
    options.limit = Some(limit);
    options.dedup = true;
    Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options).expect("a store")
}

/// As many objects as blocks, and each block overwritten: the old object and the new one are there
/// at once, and with eight writers eight new ones.
#[test]
fn a_full_store_of_distinct_blocks_is_overwritten() {
    let blocks = 64_u64;
    let store = store(blocks, 16 << 20);
    for round in 0..3 {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for block in (thread..blocks).step_by(8) {
                        let bytes = Fill::Random(round << 32 | block).bytes(BLOCK);
                        store.write(block * BLOCK as u64, &bytes).expect("room");
                    }
                });
            }
        });
        let stats = store.stats();
        assert_eq!(
            (stats.shared_blocks, stats.shared_objects),
            (blocks, blocks)
        );
        assert_eq!(stats.huge_blocks, blocks);
        assert_eq!(store.validate(), Ok(()));
    }
    for block in 0..blocks {
        let mut out = vec![0; BLOCK];
        store
            .read(block * BLOCK as u64, &mut out)
            .expect("readable");
        assert!(out == Fill::Random(2 << 32 | block).bytes(BLOCK));
    }
}

/// Words, entries and index of shared objects go when the last object has gone.
#[test]
fn r24_the_index_gives_its_memory_back() {
    let store = store(8192, 64 << 20);
    let empty = store.stats();
    for round in 0..2 {
        for block in 0..8192 {
            let bytes = Fill::Pattern(1 << 60 | block << 3 | round).bytes(BLOCK);
            store.write(block * BLOCK as u64, &bytes).expect("room");
        }
        let full = store.stats();
        assert_eq!(full.shared_objects, 8192);
        assert!(full.metadata > empty.metadata + 8192 * 24);
        store.reset().expect("nobody is attached");
        let stats = store.stats();
        // What stays are the pool's own tables, and frames that are kept.
        assert!(stats.metadata <= empty.metadata + (128 << 10), "{stats:?}");
        assert_eq!(
            (stats.shared_objects, stats.mem_used_max),
            (0, stats.mem_used)
        );
        assert_eq!(store.validate(), Ok(()));
    }
}

/// Eight writers at the limit: it holds, the index is counted in it, and what was there stays.
#[test]
fn r25_at_the_limit_with_deduplication() {
    let limit = 4 << 20;
    let store = store(64 << 8, limit);
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (store, failed) = (&store, &failed);
            scope.spawn(move || {
                for round in 0..400 {
                    let at = (thread * 256 + round % 200) * BLOCK as u64;
                    let new = Fill::Random(thread << 32 | round).bytes(BLOCK);
                    let (mut before, mut after) = (vec![0; BLOCK], vec![0; BLOCK]);
                    store.read(at, &mut before).expect("readable");
                    let outcome = store.write(at, &new);
                    store.read(at, &mut after).expect("readable");
                    match outcome {
                        Ok(()) => assert!(after == new),
                        Err(Error::NoMemory) => {
                            assert!(after == before, "a failed write changed its block");
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => unreachable!("{error}"),
                    }
                    assert!(store.stats().mem_used <= limit);
                }
            });
        }
    });
    assert!(failed.load(Ordering::SeqCst) > 0, "the limit was never met");
    assert_eq!(store.validate(), Ok(()));
}

#[test]
fn passes_are_refused() {
    let store = store(64, 16 << 20);
    let wanted = Recompress {
        priority: 1,
        which: BlockFilter::All,
        threshold: 0,
        max_blocks: None,
    };
    let refusals = [
        store.recompress(&wanted).err(),
        store
            .writeback(&WritebackRequest::new(BlockFilter::All))
            .err(),
        store.mark_idle(IdleRule::All).err(),
    ];
    for refusal in refusals {
        let Some(Error::Invalid(why)) = refusal else {
            unreachable!("{refusal:?}");
        };
        assert!(why.contains("deduplication"), "{why}");
    }
}
