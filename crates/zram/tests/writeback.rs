//! Blocks that go to a backing and come back, while others use them (R4-R9).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::file::{TestFile, with_file};
use common::{BLOCK, Fill, block, small_store, store, text, write};
use zram::*;

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

/// A damaged record is an error, never another page.
#[test]
fn a_damaged_record_is_noticed() {
    let file = TestFile::new();
    let store = with_file(&file);
    write(&store, 0, &text(1));
    store
        .writeback(&WritebackRequest::new(Which::All))
        .expect("alone");
    file.bytes(|bytes| bytes[40] ^= 1);
    let error = store.read(0, &mut [0; 10]).expect_err("damaged");
    assert!(matches!(error, Error::Corrupt { block: 0, .. }), "{error}");
    write(&store, 0, &text(2));
    assert!(block(&store, 0) == text(2));
}
