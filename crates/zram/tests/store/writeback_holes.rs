//! Storage of the backing given back as its records die.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::file::{TestFile, with_file_of, write_back};
use crate::common::{BLOCK, Fill, bare, block, text, write};
use std::os::unix::fs::MetadataExt;
use zram::*;

/// Bytes of a raw block's record.
const RECORD: u64 = BLOCK as u64 + 128;

/// Records die, and their pages become holes; records beside them, and those that come to the same
/// place, stay whole.
#[test]
fn the_backing_shrinks_as_its_records_die() {
    let file = TestFile::new();
    let store = with_file_of(&file, 20 * RECORD);
    let raw = |seed| Fill::Random(seed).bytes(BLOCK);
    for index in 0..20 {
        write(&store, index, &raw(index));
    }
    assert_eq!(write_back(&store).blocks, 20);
    store.discard(0, 10 * BLOCK as u64).expect("in range");
    // The page that is shared with the eleventh record stays.
    let dead = (10 * RECORD as usize) / 4096 * 4096;
    file.wait_until_punched(dead);
    file.bytes(|bytes| assert!(bytes[..dead].iter().all(|byte| *byte == 0)));
    for index in 0..10 {
        write(&store, index, &raw(100 + index));
    }
    assert_eq!(write_back(&store).blocks, 10);
    for index in 0..20 {
        let seed = if index < 10 { 100 + index } else { index };
        assert!(block(&store, index) == raw(seed), "block {index}");
    }
    assert_eq!(store.validate(), Ok(()));
}

/// While a hole is punched, which takes as long as it likes: requests go on, nothing is written
/// there, and a writeback that finds no other room waits and has it then.
#[test]
fn nobody_but_a_full_writeback_waits_for_a_hole() {
    let file = TestFile::new();
    let store = with_file_of(&file, 4 * RECORD);
    let raw = |seed| Fill::Random(seed).bytes(BLOCK);
    for index in 0..4 {
        write(&store, index, &raw(index));
    }
    assert_eq!(write_back(&store).blocks, 4);
    file.hold_punches(true);
    std::thread::scope(|scope| {
        store.discard(0, 2 * BLOCK as u64).expect("in range");
        file.wait_until_somebody_waits();
        // Overwritten and freed beside it.
        write(&store, 2, &text(2));
        assert!(block(&store, 3) == raw(3) && block(&store, 2) == text(2));
        assert_eq!(store.stats().backing_used, RECORD);
        write(&store, 0, &raw(10));
        write(&store, 1, &raw(11));
        let pass = scope.spawn(|| write_back(&store));
        file.hold_punches(false);
        let report = pass.join().expect("no panic");
        assert_eq!((report.blocks, report.end), (3, WritebackEnd::Done));
    });
    assert!(block(&store, 0) == raw(10) && block(&store, 1) == raw(11));
    assert!(block(&store, 2) == text(2) && block(&store, 3) == raw(3));
    assert_eq!(store.validate(), Ok(()));
}

/// A real file takes less space of its file system, where that has holes.
#[test]
fn a_file_takes_less_space_as_its_records_die() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backing");
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(1 << 20).expect("long enough");
    let taken = || std::fs::metadata(&path).expect("a file").blocks() * 512;
    let has_holes = taken() < 1 << 20 && zs_os::punch_hole(&file, 0, 4096).is_ok();
    drop(file);
    let store = bare();
    store
        .set_backing(BackingFile::open(&path).expect("a file"))
        .expect("the first");
    for index in 0..20 {
        write(&store, index, &Fill::Random(index).bytes(BLOCK));
    }
    assert_eq!(write_back(&store).blocks, 20);
    assert!(taken() >= 20 * RECORD);
    store.discard(0, store.size()).expect("in range");
    assert_eq!(store.stats().backing_used, 0);
    if !has_holes {
        println!("skipped in part: this file system has no holes");
        return;
    }
    // A page at the end was never full.
    while taken() > 20 * RECORD % 4096 + 4096 {
        std::thread::yield_now();
    }
}

/// A punch that hangs holds up neither a reset nor the next store that uses the file. What it
/// destroys when it goes on is nothing of that store's.
#[test]
fn a_punch_that_hangs_is_in_nobodys_way_and_hits_nothing_new() {
    let file = TestFile::new();
    let backing = BackingFile::new(file.clone(), 5 * RECORD);
    let store = bare();
    let raw = |seed| Fill::Random(seed).bytes(BLOCK);
    let fill = |first| {
        for index in 0..4 {
            write(&store, index, &raw(first + index));
        }
    };
    store.set_backing(backing.clone()).expect("the first");
    fill(0);
    assert_eq!(write_back(&store).blocks, 4);
    file.hold_punches(true);
    store.discard(0, 2 * BLOCK as u64).expect("in range");
    file.wait_until_somebody_waits();
    store.reset().expect("no pass is under way");
    store.set_backing(backing).expect("the first again");
    fill(10);
    for index in 4..20 {
        write(&store, index, &raw(index));
    }
    // Of five records' room two pages are where the hole is going to be: it is waited for once, and
    // not for each of the others.
    let report = write_back(&store);
    assert_eq!((report.blocks, report.end), (3, WritebackEnd::Full));
    file.hold_punches(false);
    file.wait_until_punched(2 * RECORD as usize / 4096 * 4096);
    assert_eq!(write_back(&store).blocks, 1);
    for index in 0..4 {
        assert!(block(&store, index) == raw(10 + index), "block {index}");
    }
    assert_eq!(store.validate(), Ok(()));
}

/// A load that fails has set the file as its own, and gives it up.
#[test]
fn a_store_that_was_given_up_leaves_the_holes_to_the_one_before() {
    let file = TestFile::new();
    let backing = BackingFile::new(file.clone(), 20 * RECORD);
    let store = bare();
    store.set_backing(backing.clone()).expect("the first");
    for index in 0..20 {
        write(&store, index, &Fill::Random(index).bytes(BLOCK));
    }
    assert_eq!(write_back(&store).blocks, 20);
    let other = bare();
    other.set_backing(backing).expect("the first");
    drop(other);
    store.discard(0, 10 * BLOCK as u64).expect("in range");
    file.wait_until_punched((10 * RECORD as usize) / 4096 * 4096);
    assert_eq!(store.validate(), Ok(()));
}
