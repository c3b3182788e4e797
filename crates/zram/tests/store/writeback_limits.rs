//! Limits of writeback, and backings that fail (R22).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::file::{FILE, TestFile, with_file, with_file_of, write_back};
use crate::common::{BLOCK, Fill, block, options, small_store, text, write};
use zram::*;
use zs_os::testing::{Call, Fault, FaultBacking, HeapBacking};

/// Limits for 0, 1 and 3 records and a byte less or more, at every block size: each is debited for
/// what is written, and never wraps.
#[test]
fn r22_limits_of_writeback() {
    for size in [BlockSize::K4, BlockSize::K16, BlockSize::K64] {
        let record = (size.bytes() as u64 + 16).next_multiple_of(128);
        for records in [0, 1, 3, 5] {
            for limit in [
                record * records,
                record * records + 1,
                (record * records).saturating_sub(1),
            ] {
                let store = small_store(size, false);
                store
                    .write(0, &Fill::Random(1).bytes(5 * store.block_size()))
                    .expect("room");
                store.set_writeback_limit(Some(limit));
                let report = write_back(&store);
                let fits = limit / record;
                let end = if fits == 5 {
                    WritebackEnd::Done
                } else {
                    WritebackEnd::Limit
                };
                assert_eq!(
                    (report.end, report.blocks, report.bytes),
                    (end, fits, fits * record)
                );
                assert_eq!(store.writeback_limit(), Some(limit - fits * record));
                assert_eq!((report.skipped, report.failed), (0, 0));
                let again = write_back(&store);
                assert_eq!((again.blocks, again.end), (0, end));
                assert_eq!(store.stats().backing_writes, fits);
                assert_eq!(store.validate(), Ok(()));
                store.set_writeback_limit(None);
                assert_eq!(write_back(&store).blocks, 5 - fits);
            }
        }
    }
}

const COUNT: u64 = 32 * 3 + 5;

/// A store of four batches of blocks.
fn larger(file: &TestFile) -> Store<HeapBacking> {
    let mut larger = options(BlockSize::K4);
    (larger.size, larger.max_size) = (COUNT * BLOCK as u64, Some(COUNT * BLOCK as u64));
    let store = Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, larger).expect("a store");
    let backing = BackingFile::new(file.clone(), FILE);
    store.set_backing(backing).expect("the first");
    for index in 0..COUNT {
        write(&store, index, &text(index));
    }
    store.set_writeback_limit(Some(FILE));
    store
}

fn check_all(store: &Store<HeapBacking>) {
    for index in 0..COUNT {
        assert!(block(store, index) == text(index), "block {index}");
    }
    assert_eq!(store.validate(), Ok(()));
}

/// Writes fail from the n-th on, for every n: nothing is lost, the budget comes back; short writes
/// are gone on with.
#[test]
fn r22_a_backing_that_fails_from_the_nth_write_on() {
    for short in [1000, usize::MAX] {
        let mut good = 0;
        loop {
            let file = TestFile::new();
            let store = larger(&file);
            file.good_writes(good);
            file.at_most(short);
            let report = write_back(&store);
            assert_eq!(report.blocks + report.failed, COUNT, "{report:?}");
            assert_eq!(report.first_error.is_some(), report.failed > 0);
            assert_eq!(store.writeback_limit(), Some(FILE - report.bytes));
            assert_eq!(store.stats().backing_blocks, report.blocks);
            assert_eq!(store.validate(), Ok(()));
            if report.failed == 0 {
                assert!(good > 2, "some failed");
                check_all(&store);
                break;
            }
            file.good_writes(-1);
            assert_eq!(write_back(&store).blocks, report.failed);
            check_all(&store);
            // Each n where writes are whole; where they are short, some.
            good += if short == usize::MAX { 1 } else { 17 };
        }
    }
}

/// A store of some thousand blocks: its writeback syncs several times.
fn of_several_syncs(file: &TestFile) -> Store<HeapBacking> {
    const BLOCKS: u64 = 2048 * 3 + 500;
    let mut larger = options(BlockSize::K4);
    (larger.size, larger.max_size) = (BLOCKS * BLOCK as u64, Some(BLOCKS * BLOCK as u64));
    let store = Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, larger).expect("a store");
    let backing = BackingFile::new(file.clone(), BLOCKS * 128);
    store.set_backing(backing).expect("the first");
    let mut bytes = vec![7; BLOCK];
    for index in 0..BLOCKS {
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        write(&store, index, &bytes);
    }
    store.set_writeback_limit(Some(BLOCKS * 128));
    store
}

fn check_stamps(store: &Store<HeapBacking>) {
    for index in 0..store.size() / BLOCK as u64 {
        let bytes = block(store, index);
        assert!(bytes[..8] == index.to_le_bytes() && bytes[8..] == [7; BLOCK - 8]);
    }
    assert_eq!(store.validate(), Ok(()));
}

/// The file takes every write, and says late that it lost some: at the n-th sync, for every n, and
/// at the next one that all is well. What was written since the last good sync stays in memory; it
/// is lost in the file.
#[test]
fn a_backing_that_fails_late() {
    let mut good = 0;
    loop {
        let file = TestFile::new();
        let store = of_several_syncs(&file);
        let blocks = store.size() / BLOCK as u64;
        let before = store.stats().compr_bytes;
        file.good_syncs(good);
        file.lose_unsynced(true);
        let report = write_back(&store);
        let stats = store.stats();
        assert_eq!(stats.backing_blocks, report.blocks);
        assert_eq!(stats.backing_writes, report.blocks);
        assert_eq!(store.writeback_limit(), Some(blocks * 128 - report.bytes));
        assert_eq!(stats.backing_used, report.bytes);
        check_stamps(&store);
        if report.failed == 0 {
            assert_eq!((report.blocks, report.end), (blocks, WritebackEnd::Done));
            assert_eq!(file.syncs() as i64, good);
            assert!(good > 2, "several syncs");
            return;
        }
        assert_eq!(report.end, WritebackEnd::Failed);
        assert!(report.failed >= 100 && report.first_error.is_some());
        if report.blocks == 0 {
            assert_eq!(stats.compr_bytes, before, "no memory was given up");
        }
        // It is well again: the rest goes, too.
        let report = write_back(&store);
        assert_eq!((report.failed, report.end), (0, WritebackEnd::Done));
        assert_eq!(store.stats().backing_blocks, blocks);
        check_stamps(&store);
        store.discard(0, store.size()).expect("in range");
        assert_eq!(store.stats().backing_used, 0);
        good += 1;
    }
}

/// Blocks that are overwritten, discarded or read while the file syncs are as they are then.
#[test]
fn blocks_change_while_the_backing_syncs() {
    for good in [0, 1] {
        let file = TestFile::new();
        let store = larger(&file);
        file.good_syncs(good);
        file.hold_syncs(true);
        std::thread::scope(|scope| {
            let pass = scope.spawn(|| write_back(&store));
            file.wait_until_somebody_waits();
            assert_eq!(store.stats().backing_blocks, 0);
            write(&store, 0, &text(500));
            store.discard(BLOCK as u64, BLOCK as u64).expect("in range");
            assert!(block(&store, 2) == text(2));
            file.hold_syncs(false);
            let report = pass.join().expect("no panic");
            match good {
                0 => assert_eq!((report.blocks, report.failed), (0, COUNT)),
                _ => assert_eq!((report.blocks, report.changed), (COUNT - 3, 3)),
            }
        });
        assert!(block(&store, 0) == text(500) && block(&store, 1) == [0; BLOCK]);
        for index in 2..COUNT {
            assert!(block(&store, index) == text(index));
        }
        assert_eq!(store.validate(), Ok(()));
    }
}

/// A panic in the backing's own code at a sync is a failure.
#[test]
fn a_sync_that_panics() {
    let file = TestFile::new();
    let store = larger(&file);
    file.panic_at_sync(true);
    let report = write_back(&store);
    assert_eq!((report.end, report.failed), (WritebackEnd::Failed, COUNT));
    file.panic_at_sync(false);
    assert_eq!(write_back(&store).blocks, COUNT);
    check_all(&store);
}

/// Four failures in a row end a pass; a panic in the backing's own code is one.
#[test]
fn r22_a_pass_gives_up() {
    let file = TestFile::new();
    let store = larger(&file);
    file.panic(true);
    let report = write_back(&store);
    assert_eq!(
        (report.end, report.blocks, report.failed),
        (WritebackEnd::Failed, 0, COUNT)
    );
    assert!(
        report
            .first_error
            .expect("a reason")
            .to_string()
            .contains("panicked")
    );
    assert_eq!(store.writeback_limit(), Some(FILE));
    file.panic(false);
    assert_eq!(write_back(&store).blocks, COUNT);
    check_all(&store);
}

/// Reads fail from the n-th on, and come short: an error, and later the block.
#[test]
fn a_backing_that_fails_when_it_is_read() {
    for short in [1, 100, usize::MAX] {
        let file = TestFile::new();
        let store = with_file(&file);
        write(&store, 0, &text(5));
        assert_eq!(write_back(&store).blocks, 1);
        file.at_most(short);
        let mut good = 0;
        loop {
            file.good_reads(good);
            let mut out = vec![0; BLOCK];
            match store.read(0, &mut out) {
                Err(error) => assert!(matches!(error, Error::Io { .. }), "{error}"),
                Ok(()) => break assert!(out == text(5)),
            }
            // A part of the block needs the rest: it stays as it was.
            file.good_reads(good);
            assert!(matches!(store.write(7, b"part"), Err(Error::Io { .. })));
            file.good_reads(good);
            assert!(store.snapshot(std::io::sink()).is_err());
            assert_eq!(store.validate(), Ok(()));
            good += 1;
        }
        assert!(good > 0);
        file.good_reads(0);
        write(&store, 0, &text(6));
        assert!(block(&store, 0) == text(6), "a whole block needs nothing");
    }
}

/// The file is cut while it is used: what lay there is an error, the rest is there, and the blocks
/// can be written anew.
#[test]
fn a_backing_that_is_cut() {
    let file = TestFile::new();
    let store = with_file(&file);
    for index in 0..4 {
        write(&store, index, &Fill::Random(index).bytes(BLOCK));
    }
    assert_eq!(write_back(&store).blocks, 4);
    file.bytes(|bytes| bytes.truncate(2 * (BLOCK + 128) + 50));
    for index in 0..4_u64 {
        let outcome = store.read(index * BLOCK as u64, &mut [0; BLOCK]);
        match index {
            0 | 1 => outcome.expect("still there"),
            _ => assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}"),
        }
        write(&store, index, &text(index));
        assert!(block(&store, index) == text(index));
    }
    assert_eq!(store.stats().backing_used, 0);
    assert_eq!(store.validate(), Ok(()));
}

/// What does not fit is left, and smaller blocks behind it are written.
#[test]
fn a_full_backing() {
    let file = TestFile::new();
    let store = with_file_of(&file, BLOCK as u64 + 128 + 2 * 128);
    let raw = |seed| Fill::Random(seed).bytes(BLOCK);
    // The second is too long for what is left, the third is not.
    write(&store, 0, &raw(0));
    write(&store, 1, &raw(1));
    let mut small = vec![7; BLOCK];
    small[9] = 1;
    write(&store, 2, &small);
    let report = write_back(&store);
    assert_eq!(
        (report.end, report.blocks, report.skipped),
        (WritebackEnd::Full, 2, 1)
    );
    assert_eq!((report.failed, report.changed), (0, 0));
    assert!(block(&store, 0) == raw(0) && block(&store, 1) == raw(1) && block(&store, 2) == small);
    // Room again.
    store.discard(0, BLOCK as u64).expect("in range");
    let report = write_back(&store);
    assert_eq!(
        (report.end, report.blocks, report.skipped),
        (WritebackEnd::Done, 1, 0)
    );
    assert!(block(&store, 1) == raw(1));
    assert_eq!(store.validate(), Ok(()));
}

/// Every commit from the n-th on fails during writeback and recompression: blocks stay what they
/// are.
#[test]
fn every_commit_of_a_pass_fails() {
    let mut failures = 0;
    for n in 1..40 {
        let backing = FaultBacking::new(HeapBacking::new(4096));
        let control = backing.control();
        let mut larger = options(BlockSize::K4);
        (larger.size, larger.max_size) = (COUNT * BLOCK as u64, Some(COUNT * BLOCK as u64));
        let store = Store::with_backing(backing, &zs_os::HOST, larger).expect("a store");
        let zstd = "zstd:9".parse().expect("an algorithm");
        store.set_secondary(1, zstd, None).expect("set once");
        store
            .set_backing(BackingFile::new(TestFile::new(), FILE))
            .expect("the first");
        for index in 0..COUNT {
            store
                .write(index * BLOCK as u64, &text(index))
                .expect("room");
        }
        store.trim();
        control.set(Call::Commit, Fault::From(n));
        let wanted = Recompress {
            priority: 1,
            which: BlockFilter::All,
            threshold: 0,
            max_blocks: None,
        };
        let report = store.recompress(&wanted).expect("alone");
        assert_eq!(report.tried, COUNT);
        let written = store
            .writeback(&WritebackRequest {
                max_blocks: 40,
                ..WritebackRequest::new(BlockFilter::All)
            })
            .expect("alone");
        assert_eq!((written.blocks, written.failed), (40, 0));
        let failed = control.failed(Call::Commit);
        failures += failed;
        control.clear();
        let mut out = vec![0; BLOCK];
        for index in 0..COUNT {
            store
                .read(index * BLOCK as u64, &mut out)
                .expect("readable");
            assert!(out == text(index));
        }
        assert_eq!(store.validate(), Ok(()));
        if failed == 0 {
            break;
        }
    }
    assert!(failures > 0, "no commit was met");
}
