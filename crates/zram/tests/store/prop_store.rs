//! One list of operations, driven against the store, whose backing is soon full and fails late, and
//! against a plain vector of bytes.
#![allow(clippy::expect_used, clippy::allow_attributes, reason = "tests")]

use crate::common::{Model, Op, store_on_a_bad_file};
use proptest::prelude::*;
use zram::BlockSize;

fn cases() -> u32 {
    let long: u32 = std::env::var("ZS_LONG")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    48 * long
}

fn run(block_size: BlockSize, dedup: bool, ops: &[Op]) {
    let store = store_on_a_bad_file(block_size, dedup);
    let mut model = Model::new(&store, dedup);
    for op in ops {
        model.step(&store, op);
        assert_eq!(store.validate(), Ok(()), "after {op:?}");
    }
    model.compare(&store);
    store.reset().expect("nobody is attached");
    assert_eq!(store.validate(), Ok(()));
    assert_eq!(store.stats().orig_bytes, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn as_a_vector_4k(ops in crate::common::ops()) {
        run(BlockSize::K4, false, &ops);
    }

    #[test]
    fn as_a_vector_16k(ops in crate::common::ops()) {
        run(BlockSize::K16, false, &ops);
    }

    #[test]
    fn as_a_vector_64k(ops in crate::common::ops()) {
        run(BlockSize::K64, false, &ops);
    }

    #[test]
    fn as_a_vector_deduplicated(ops in crate::common::ops()) {
        run(BlockSize::K4, true, &ops);
    }
}
