//! Requests and options of every shape, and those that cannot be.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::{BLOCK, Fill, bare, block, options, store, text, write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zram::*;
use zs_os::testing::HeapBacking;

fn make(options: StoreOptions) -> Result<Store<HeapBacking>, Error> {
    Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options)
}

fn refusal(options: StoreOptions) -> String {
    match make(options).err() {
        Some(Error::Invalid(why)) => why,
        other => unreachable!("{other:?}"),
    }
}

/// Another thread rewrites the source all the time: what is stored is one copy of it, and the
/// neighbours are intact.
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
        for _ in 0..60 {
            let mut copied = Vec::new();
            let fill = |range: std::ops::Range<usize>, out: &mut [u8]| {
                let before = changes.load(Ordering::SeqCst);
                for (at, (word, cell)) in out
                    .chunks_exact_mut(8)
                    .zip(&source[range.start / 8..])
                    .enumerate()
                {
                    // In the middle, the other thread is waited for.
                    while at == BLOCK / 16 && changes.load(Ordering::SeqCst) == before {
                        std::thread::yield_now();
                    }
                    word.copy_from_slice(&cell.load(Ordering::SeqCst).to_ne_bytes());
                }
                copied = out.to_vec();
            };
            store.write_from(BLOCK as u64, BLOCK, fill).expect("room");
            assert!(block(&store, 1) == copied);
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(block(&store, 0) == text(1) && block(&store, 2) == text(2));
    assert_eq!(store.validate(), Ok(()));
}

/// The source is asked once for each byte, whatever the codec makes of it: what it would say the
/// second time is stored nowhere.
#[test]
fn r1_the_source_is_asked_once() {
    let store = store();
    let len = 3 * BLOCK + 700;
    for (seed, offset) in [(1, 0), (2, 300), (3, 5 * BLOCK as u64 - 1)] {
        let mut asked = vec![0_u8; len];
        let fill = |range: std::ops::Range<usize>, out: &mut [u8]| {
            assert_eq!(range.len(), out.len());
            let bytes = Fill::Random(seed).bytes(len);
            for (at, byte) in range.clone().zip(out) {
                *byte = bytes[at] ^ asked[at];
                asked[at] += 1;
            }
        };
        store.write_from(offset, len, fill).expect("room");
        assert!(asked.iter().all(|times| *times == 1), "asked twice");
        let mut out = vec![0; len];
        store.read(offset, &mut out).expect("readable");
        assert!(out == Fill::Random(seed).bytes(len));
    }
}

/// Two writers of one block: afterwards there is one object.
#[test]
fn r2_two_writers_of_one_block_leave_one_object() {
    let store = bare();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..500 {
                    write(store, 1, &text(round * 2 + thread));
                }
            });
        }
    });
    let now = block(&store, 1);
    assert!(now == text(998) || now == text(999));
    assert_eq!(store.stats().orig_bytes, BLOCK as u64);
    assert_eq!(store.stats().algorithms[0].blocks, 1);
    assert_eq!(store.validate(), Ok(()));
}

/// Segments with offsets inside blocks, of each block size; a page of 4 KiB within a larger block.
#[test]
fn r16_segments_with_offsets() {
    for size in [BlockSize::K4, BlockSize::K16, BlockSize::K64] {
        let store = make(options(size)).expect("a store");
        let whole = store.size() as usize;
        let mut model = vec![0; whole];
        let mut random = fastrand::Rng::with_seed(16);
        for round in 0..200 {
            let at = random.usize(..whole / 512) * 512;
            let len = [512, 1024, 4096, 12_288, 70_000][round % 5].min(whole - at);
            let bytes = Fill::Text(round as u64).bytes(len);
            store.write(at as u64, &bytes).expect("room");
            model[at..at + len].copy_from_slice(&bytes);
            let from = random.usize(..whole);
            let mut out = vec![0; random.usize(..=whole - from).min(80_000)];
            store.read(from as u64, &mut out).expect("readable");
            assert!(out == model[from..from + out.len()], "{from} {}", out.len());
        }
        assert_eq!(store.validate(), Ok(()));
    }
}

#[test]
fn sizes_that_cannot_be() {
    for size in [0, 1, 511, 513, 1 << 63, u64::MAX] {
        for dedup in [false, true] {
            let mut options = StoreOptions::new(size);
            options.limit = Some(16 << 20);
            options.dedup = dedup;
            let why = refusal(options);
            assert!(why.contains(&format!("a size of {size} bytes")), "{why}");
            assert!(why.contains("multiple of 512 from 512"), "{why}");
        }
    }
    let mut small = StoreOptions::new(1 << 20);
    small.max_size = Some((1 << 20) - 512);
    assert!(refusal(small).contains("is below the size"));
    let mut odd = StoreOptions::new(1 << 20);
    odd.max_size = Some((1 << 20) + 1);
    assert!(refusal(odd).contains("multiple of 512"));
    let mut least = StoreOptions::new(512);
    least.limit = Some(16 << 20);
    let store = make(least).expect("a store");
    store.write(0, &[9; 512]).expect("room");
    assert!(matches!(
        store.write(1, &[9; 512]),
        Err(Error::OutOfRange { .. })
    ));
}

#[test]
fn options_that_cannot_be() {
    for (raw_above, block_size) in [
        (0, BlockSize::K4),
        (7, BlockSize::K4),
        (4097, BlockSize::K4),
        (65_537, BlockSize::K64),
    ] {
        let mut options = options(block_size);
        options.raw_above = Some(raw_above);
        let why = refusal(options);
        assert!(why.contains(&format!("8 to {} are allowed", block_size.bytes())));
    }
    for raw_above in [8, 4096] {
        let mut options = options(BlockSize::K4);
        options.raw_above = Some(raw_above);
        let store = make(options).expect("a store");
        store.write(0, &text(1)).expect("room");
        assert!(block(&store, 0) == text(1));
        assert_eq!(store.stats().huge_blocks, u64::from(raw_above == 8));
    }
    for limit in [0, (2 << 20) - 1, (1 << 40) + 1] {
        let mut options = options(BlockSize::K4);
        options.limit = Some(limit);
        let why = refusal(options);
        assert!(
            why.contains("2097152 to 1099511627776 are allowed"),
            "{why}"
        );
    }
}

#[test]
fn ranges_that_overflow() {
    let store = store();
    let size = store.size();
    let mut byte = [0; 2];
    for offset in [size - 1, size, size + 1, u64::MAX - 1, u64::MAX] {
        assert!(matches!(
            store.write(offset, &byte),
            Err(Error::OutOfRange { .. })
        ));
        assert!(store.read(offset, &mut byte).is_err());
        assert!(store.write_from(offset, 2, |_, _| {}).is_err());
        for len in [2, u64::MAX] {
            assert!(store.discard(offset, len).is_err());
            assert!(store.write_zeroes(offset, len, Zeroes::Allocated).is_err());
            assert!(store.status(offset, len, 9).is_err());
        }
    }
    let stats = store.stats();
    // Refused requests are counted, and in no histogram.
    assert_eq!((stats.failed_reads, stats.failed_writes), (5, 30));
    let all = [
        stats.read_latency,
        stats.write_latency,
        stats.discard_latency,
    ];
    assert!(all.iter().flatten().all(|count| *count == 0));
    store.read(size, &mut []).expect("nothing, at the end");
    store.write(size, &[]).expect("nothing, at the end");
    store.discard(size, 0).expect("nothing, at the end");
}

#[test]
fn a_store_only_grows() {
    let store = bare();
    let size = store.size();
    for (smaller, why) in [
        (size - 512, "only grows"),
        (size + 1, "multiple of 512"),
        (0, "multiple of 512"),
        (u64::MAX, "multiple of 512"),
        (1 << 62, "multiple of 512"),
    ] {
        let error = store.resize(smaller).expect_err("refused").to_string();
        assert!(error.contains(why), "{smaller}: {error}");
    }
    assert_eq!(store.size(), size);
    store.resize(size).expect("as it was");
}

#[test]
fn limits_below_what_is_stored() {
    let mut options = StoreOptions::new(16 << 20);
    options.limit = Some(32 << 20);
    let store = make(options).expect("a store");
    for index in 0..2000 {
        write(&store, index, &Fill::Random(index).bytes(BLOCK));
    }
    let held = store.stats().mem_used;
    for limit in [0, 2 << 20, held / 2] {
        assert!(store.set_limit(limit).is_err(), "{limit} of {held}");
        assert_eq!(store.limit(), 32 << 20);
    }
    store.discard(0, 1500 * BLOCK as u64).expect("in range");
    store.set_limit(held / 2).expect("less is stored now");
    assert!(store.stats().mem_used <= held / 2);
    for index in 1500..2000 {
        assert!(block(&store, index) == Fill::Random(index).bytes(BLOCK));
    }
    assert_eq!(store.validate(), Ok(()));
}

/// A store full of blocks that do not compress fits into the default limit, where half of the
/// machine's memory is more.
#[test]
fn the_default_limit_holds_a_full_store() {
    for (size, dedup) in [(1 << 20, false), (24 << 20, false), (24 << 20, true)] {
        let mut options = StoreOptions::new(size);
        options.dedup = dedup;
        options.max_size = Some(size);
        assert!(options.default_limit() < size + size / 8 + (4 << 20));
        let store = make(options).expect("a store");
        let mut random = fastrand::Rng::with_seed(size);
        let mut bytes = vec![0; BLOCK];
        for at in (0..size).step_by(BLOCK) {
            random.fill(&mut bytes);
            store.write(at, &bytes).expect("it fits");
        }
        assert_eq!(store.stats().huge_blocks * BLOCK as u64, size);
        assert_eq!(store.validate(), Ok(()));
    }
}

/// What algorithms made of blocks, in blocks and in bytes; a reset forgets the rest.
#[test]
fn statistics_by_algorithm_and_after_a_reset() {
    let store = store();
    for index in 0..8 {
        write(&store, index, &text(index));
    }
    write(&store, 8, &Fill::Random(1).bytes(BLOCK));
    let primary = store.stats().algorithms[0];
    assert_eq!(primary.blocks, 8);
    assert_eq!(primary.bytes, store.stats().compr_bytes - BLOCK as u64);
    let wanted = Recompress {
        priority: 2,
        which: BlockFilter::All,
        threshold: 0,
        max_blocks: None,
    };
    let report = store.recompress(&wanted).expect("alone");
    let stats = store.stats();
    assert_eq!(stats.algorithms[2].blocks, report.smaller);
    assert_eq!(stats.algorithms[2].bytes, report.bytes_after);
    assert_eq!(
        stats.algorithms.iter().map(|one| one.bytes).sum::<u64>(),
        stats.compr_bytes - stats.huge_blocks * BLOCK as u64
    );
    assert!(report.smaller > 0 && stats.write_latency.iter().sum::<u64>() == 9);
    store.reset().expect("nobody is attached");
    let after = store.stats();
    assert_eq!(after.mem_used_max, after.mem_used);
    assert!(after.mem_used < stats.mem_used);
    assert_eq!(after.write_latency.iter().sum::<u64>(), 0);
    assert!(after.algorithms.iter().all(|one| one.bytes == 0));
}

/// Raw blocks that a snapshot brings are counted as any others.
#[test]
fn a_loaded_store_counts_its_raw_blocks() {
    let store = bare();
    write(&store, 3, &Fill::Random(1).bytes(BLOCK));
    let mut file = Vec::new();
    store.snapshot(&mut file).expect("memory holds it");
    let mut options = SnapshotOptions::default();
    options.limit = Some(16 << 20);
    let copy = Store::load_with_backing(HeapBacking::new(4096), &zs_os::HOST, &file[..], &options)
        .expect("a snapshot");
    let stats = copy.stats();
    assert_eq!((stats.huge_blocks, stats.huge_since), (1, 1));
}

/// What blocks take, of every kind: one by one, but for those that take nothing.
#[test]
fn stored_sizes_are_those_of_objects_and_records() {
    let store = store();
    let block = BLOCK as u64;
    assert_eq!(sizes(&store, 0, 20 * block), [(20 * block, 0)]);
    write(&store, 0, &[7; BLOCK]);
    write(&store, 1, &Fill::Pattern(u64::MAX / 3 - 1).bytes(BLOCK));
    write(&store, 2, &Fill::Random(1).bytes(BLOCK));
    write(&store, 3, &text(1));
    let found = sizes(&store, 100, 4 * block);
    let text_takes = found[3].1;
    assert!((9..block).contains(&text_takes));
    let expected = [
        (block - 100, 0),
        (block, 8),
        (block, block),
        (block, text_takes),
        (100, 0),
    ];
    assert_eq!(found, expected);
    assert_eq!(store.stats().compr_bytes, 8 + block + text_takes);
    let all = WritebackRequest::new(BlockFilter::All);
    assert_eq!(store.writeback(&all).expect("a backing").blocks, 2);
    let found = sizes(&store, 2 * block, 2 * block);
    // Records have heads, and are in units.
    assert!(found[0].1 > block && found[1].1 > text_takes, "{found:?}");
    assert_eq!(found[0].1 + found[1].1, store.stats().backing_used);
    assert!(store.stored_sizes(0, store.size() + 1, 9).is_err());
    assert_eq!(
        store
            .stored_sizes(0, store.size(), 2)
            .expect("in range")
            .len(),
        2
    );
}

fn sizes(store: &Store<HeapBacking>, offset: u64, len: u64) -> Vec<(u64, u64)> {
    let found = store.stored_sizes(offset, len, 99).expect("in range");
    found.into_iter().map(|one| (one.len, one.stored)).collect()
}
