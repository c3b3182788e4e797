//! Blocks that go to a backing and come back, while others use them (R4-R9).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::file::{FILE, TestFile, with_file, with_file_of, write_back};
use crate::common::{BLOCK, Fill, block, options, small_store, store, text, write};
use zram::*;
use zs_os::testing::HeapBacking;

/// A block is overwritten, or discarded, while its record is on its way: the newest wins, the
/// extent is released once.
#[test]
fn r4_r5_r6_overwritten_and_discarded_during_writeback() {
    let file = TestFile::new();
    let store = with_file(&file);
    for index in 0..4 {
        write(&store, index, &text(index));
    }
    file.hold(true);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| store.writeback(&WritebackRequest::new(BlockFilter::All)));
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
            ..WritebackRequest::new(BlockFilter::Huge)
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

/// Every shape of partial request on written-back blocks, at every edge: written, zeroed,
/// discarded, read.
#[test]
fn r8_r9_r16_parts_of_written_back_blocks() {
    for size in [BlockSize::K4, BlockSize::K16, BlockSize::K64] {
        let store = small_store(size, false);
        let len = store.block_size();
        let edges = [0, 1, 511, 512, len - 1, len, len + 1, 2 * len - 1, 2 * len];
        let shapes = edges
            .iter()
            .flat_map(|start| edges.iter().map(move |end| (*start, *end)))
            .filter(|(start, end)| start <= end);
        for (start, end) in shapes {
            for kind in 0..4 {
                let mut model = Fill::Text(3).bytes(2 * len);
                store.write(0, &model).expect("room");
                assert_eq!(write_back(&store).blocks, 2);
                let (at, part) = (start as u64, (end - start) as u64);
                let mut out = vec![0xaa; end - start];
                match kind {
                    0 => store.write(at, &vec![0xee; end - start]),
                    1 => store.discard(at, part),
                    2 => store.write_zeroes(at, part, Zeroes::Allocated),
                    _ => store.read(at, &mut out),
                }
                .expect("answered");
                match kind {
                    0 => model[start..end].fill(0xee),
                    1 | 2 => model[start..end].fill(0),
                    _ => assert!(out == model[start..end]),
                }
                let mut whole = vec![0; 2 * len];
                store.read(0, &mut whole).expect("readable");
                assert!(whole == model, "{kind}: {start}..{end}");
                assert_eq!(store.validate(), Ok(()));
            }
        }
    }
}

/// A reader waits for the backing: whoever overwrites or discards the block meanwhile comes after
/// it.
#[test]
fn r4_r5_r6_overwritten_and_discarded_during_a_read_back() {
    for discard in [false, true] {
        let file = TestFile::new();
        let store = with_file(&file);
        write(&store, 0, &text(0));
        assert_eq!(write_back(&store).blocks, 1);
        file.hold(true);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| block(&store, 0));
            file.wait_until_somebody_waits();
            let changer = scope.spawn(|| match discard {
                true => store.discard(0, BLOCK as u64),
                false => store.write(0, &text(1)),
            });
            assert!(!changer.is_finished(), "the block is locked");
            file.hold(false);
            assert!(reader.join().expect("no panic") == text(0));
            changer.join().expect("no panic").expect("room");
        });
        let expected = if discard { vec![0; BLOCK] } else { text(1) };
        assert!(block(&store, 0) == expected);
        assert_eq!(store.stats().backing_used, 0);
        assert_eq!(store.validate(), Ok(()));
    }
}

/// Four batches are on their way at once; whatever is done with their blocks meanwhile wins.
#[test]
fn r4_r5_r6_with_four_batches_on_their_way() {
    const COUNT: u64 = 32 * 6;
    let file = TestFile::new();
    let mut larger = options(BlockSize::K4);
    (larger.size, larger.max_size) = (COUNT * BLOCK as u64, Some(COUNT * BLOCK as u64));
    let store = Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, larger).expect("a store");
    let zstd = "zstd:9".parse().expect("an algorithm");
    store.set_secondary(1, zstd, None).expect("set once");
    let backing = BackingFile::new(file.clone(), FILE);
    store.set_backing(backing).expect("the first");
    let mut model: Vec<_> = (0..COUNT).map(text).collect();
    for (index, bytes) in (0..).zip(&model) {
        write(&store, index, bytes);
    }
    file.hold(true);
    let report = std::thread::scope(|scope| {
        let pass = scope.spawn(|| write_back(&store));
        file.wait_until_wait(4);
        for index in (0..100).step_by(5) {
            let new = text(1000 + index as u64);
            let at = (index * BLOCK) as u64;
            match index % 4 {
                0 => write(&store, index as u64, &new),
                1 => store.discard(at, BLOCK as u64).expect("in range"),
                2 => store.write(at + 9, &new[..99]).expect("room"),
                _ => assert!(block(&store, index as u64) == model[index]),
            }
            match index % 4 {
                0 => model[index] = new,
                1 => model[index].fill(0),
                2 => model[index][9..108].copy_from_slice(&new[..99]),
                _ => {}
            }
        }
        let wanted = Recompress {
            priority: 1,
            which: BlockFilter::All,
            threshold: 0,
            max_blocks: Some(10),
        };
        assert_eq!(store.recompress(&wanted).expect("alone").smaller, 10);
        file.hold(false);
        pass.join().expect("no panic")
    });
    assert!((20..=30).contains(&report.changed), "{report:?}");
    assert_eq!((report.blocks, report.failed), (COUNT - report.changed, 0));
    for (index, bytes) in (0..).zip(&model) {
        assert!(block(&store, index) == *bytes, "block {index}");
    }
    assert_eq!(store.validate(), Ok(()));
}

/// A block that is read while its record is on its way is in use, and stays in memory.
#[test]
fn r15_a_block_that_is_read_meanwhile_stays() {
    let file = TestFile::new();
    let store = with_file(&file);
    for index in 0..3 {
        write(&store, index, &text(index));
    }
    file.hold(true);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| write_back(&store));
        file.wait_until_somebody_waits();
        assert!(block(&store, 1) == text(1));
        file.hold(false);
        let report = pass.join().expect("no panic");
        assert_eq!((report.blocks, report.changed), (2, 1));
    });
    assert_eq!(store.stats().backing_reads, 0);
    assert!(block(&store, 1) == text(1));
    assert_eq!(store.stats().backing_reads, 0);
    assert_eq!(store.validate(), Ok(()));
}

/// Only blocks that a range touches.
#[test]
fn by_range() {
    let block = BLOCK as u64;
    let cases = [
        (0..0, 0),
        (block..block, 0),
        (5..5, 0),
        (0..1, 1),
        (block - 1..block + 1, 2),
        (block..3 * block, 2),
        (2 * block + 1..2 * block + 2, 1),
        (0..20 * block, 6),
    ];
    for (range, blocks) in cases {
        let store = store();
        for index in 0..6 {
            write(&store, index, &text(index));
        }
        let request = WritebackRequest {
            range: Some(range.clone()),
            ..WritebackRequest::new(BlockFilter::All)
        };
        assert_eq!(
            store.writeback(&request).expect("alone").blocks,
            blocks,
            "{range:?}"
        );
        for index in 0..6 {
            assert!(crate::common::block(&store, index) == text(index));
        }
    }
    let store = store();
    for range in [0..u64::MAX, store.size()..store.size() + 1] {
        let request = WritebackRequest {
            range: Some(range),
            ..WritebackRequest::new(BlockFilter::All)
        };
        assert!(matches!(
            store.writeback(&request),
            Err(Error::OutOfRange { .. })
        ));
    }
}

/// A write that the backing lost: what lies there is an older record of the same block, and an
/// error.
#[test]
fn a_lost_write_is_noticed() {
    let file = TestFile::new();
    // Room for one record: the second lies where the first did.
    let store = with_file_of(&file, BLOCK as u64 + 128);
    let bytes = |seed| Fill::Random(seed).bytes(BLOCK);
    for seed in 0..3 {
        write(&store, 0, &bytes(seed));
        file.lose_writes(seed == 1);
        assert_eq!(write_back(&store).blocks, 1);
        let mut out = vec![0; BLOCK];
        match (seed, store.read(0, &mut out)) {
            (1, Err(Error::Corrupt { block: 0, what })) => assert!(what.contains("lost"), "{what}"),
            (0 | 2, Ok(())) => assert!(out == bytes(seed)),
            (_, outcome) => unreachable!("{outcome:?}"),
        }
    }
    // The same file in another store: a record of the first one is none of its.
    let other = with_file_of(&file, BLOCK as u64 + 128);
    write(&other, 0, &bytes(7));
    file.lose_writes(true);
    for _ in 0..3 {
        assert_eq!(write_back(&other).blocks, 1);
        let outcome = other.read(0, &mut [0; 8]);
        assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{outcome:?}");
        write(&other, 0, &bytes(7));
    }
}

/// A damaged record is an error, never another page.
#[test]
fn a_damaged_record_is_noticed() {
    let file = TestFile::new();
    let store = with_file(&file);
    write(&store, 0, &text(1));
    store
        .writeback(&WritebackRequest::new(BlockFilter::All))
        .expect("alone");
    file.bytes(|bytes| bytes[40] ^= 1);
    let error = store.read(0, &mut [0; 10]).expect_err("damaged");
    assert!(matches!(error, Error::Corrupt { block: 0, .. }), "{error}");
    write(&store, 0, &text(2));
    assert!(block(&store, 0) == text(2));
}
