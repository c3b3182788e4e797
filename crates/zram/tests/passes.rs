//! Passes over the store: idle marks, recompression, writeback (R15, R23).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::{BLOCK, block, store, text, write};
use std::time::Duration;
use zram::*;

#[test]
fn r15_idle_marks_are_exact() {
    let store = store();
    for index in 0..6 {
        write(&store, index, &text(index));
    }
    write(&store, 6, &[1; BLOCK]);
    assert_eq!(store.mark_idle(IdleRule::All).expect("marks"), 6);
    drop(block(&store, 0));
    write(&store, 1, &text(9));
    let wanted = Recompress {
        priority: 2,
        which: Which::Idle,
        threshold: 0,
        max_blocks: Some(1),
    };
    assert_eq!(store.recompress(&wanted).expect("alone").tried, 1);
    let request = WritebackRequest {
        max_blocks: 1,
        ..WritebackRequest::new(Which::Idle)
    };
    assert_eq!(store.writeback(&request).expect("alone").blocks, 1);
    // Two of six are left.
    let rest = store
        .writeback(&WritebackRequest::new(Which::Idle))
        .expect("alone");
    assert_eq!(rest.blocks, 2);
    assert_eq!(
        store
            .mark_idle(IdleRule::OlderThan(Duration::from_secs(3600)))
            .expect("marks"),
        0
    );
    assert_eq!(store.validate(), Ok(()));
}
