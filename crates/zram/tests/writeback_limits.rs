//! Limits of writeback, and backings that fail (R22).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::file::{TestFile, with_file};
use common::{Fill, block, small_store, text, write};
use zram::*;

#[test]
fn r22_limits_of_writeback() {
    for size in [BlockSize::K4, BlockSize::K16, BlockSize::K64] {
        for limit in [0, 1, 3] {
            let store = small_store(size, false);
            store
                .write(0, &Fill::Random(1).bytes(2 * store.block_size()))
                .expect("room");
            store.set_writeback_limit(Some(limit));
            let report = store
                .writeback(&WritebackRequest::new(Which::All))
                .expect("alone");
            assert_eq!((report.end, report.blocks), (WritebackEnd::Limit, 0));
            assert_eq!(store.writeback_limit(), Some(limit));
            // Just enough for one record.
            let record = (store.block_size() as u64 + 16).next_multiple_of(128);
            store.set_writeback_limit(Some(record + 3));
            let report = store
                .writeback(&WritebackRequest::new(Which::All))
                .expect("alone");
            assert_eq!(
                (report.end, report.blocks, report.bytes),
                (WritebackEnd::Limit, 1, record)
            );
            assert_eq!(store.writeback_limit(), Some(3));
            assert_eq!(store.validate(), Ok(()));
        }
    }
}

/// The n-th write of the backing fails: nothing is lost, the budget comes back; short writes are gone on with.
#[test]
fn r22_a_backing_that_fails() {
    for good in 0..3 {
        let file = TestFile::new();
        let store = with_file(&file);
        for index in 0..12 {
            write(&store, index, &text(index));
        }
        file.good_writes(good);
        file.at_most(1000);
        store.set_writeback_limit(Some(1 << 20));
        let report = store
            .writeback(&WritebackRequest::new(Which::All))
            .expect("alone");
        assert!(
            matches!(report.first_error, Some(Error::Io { .. })),
            "{report:?}"
        );
        assert_eq!((report.blocks, report.failed), (0, 12));
        assert_eq!(store.writeback_limit(), Some(1 << 20));
        assert_eq!(store.validate(), Ok(()));
        file.good_writes(-1);
        let report = store
            .writeback(&WritebackRequest::new(Which::All))
            .expect("it works again");
        assert_eq!(report.blocks, 12);
        assert_eq!(store.writeback_limit(), Some((1 << 20) - report.bytes));
        for index in 0..12 {
            assert!(block(&store, index) == text(index));
        }
        assert_eq!(store.validate(), Ok(()));
    }
}
