//! Operations for proptest.

use crate::op::Op;
use proptest::prelude::{Strategy, any};

/// Between `least` and `most` operations. Each is decoded from 16 bytes of its own, so that removing
/// one while a failure is shrunk leaves the others as they were.
pub fn ops(least: usize, most: usize) -> impl Strategy<Value = Vec<Op>> {
    let one = any::<[u8; 16]>().prop_map(|bytes| Op::decode_one(&bytes));
    proptest::collection::vec(one, least..=most)
}
