//! Operations for proptest.

use crate::driver::RunOptions;
use crate::op::Op;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use zs_mm::{ArenaOptions, PageSize, ZoneSpecs};

/// Between `least` and `most` operations. Each is decoded from 16 bytes of its own, so that
/// removing one while a failure is shrunk leaves the others as they were.
pub fn ops(least: usize, most: usize) -> impl Strategy<Value = Vec<Op>> {
    let one = any::<[u8; 16]>().prop_map(|bytes| Op::decode_one(&bytes));
    proptest::collection::vec(one, least..=most)
}

/// One case: the arena and pools that it runs on, and the operations.
#[derive(Debug, Clone)]
pub struct Case {
    /// The backing's unit of commit.
    pub granule: usize,
    /// The arena's limit, in bytes.
    pub limit: u64,
    /// The pools.
    pub options: RunOptions,
    /// What is done to them.
    pub ops: Vec<Op>,
}

impl Case {
    /// Returns the arena of the case: of two zones, if it has two pageblocks.
    pub fn arena(&self, page: PageSize) -> ArenaOptions {
        ArenaOptions {
            page_size: page,
            zones: ZoneSpecs::normal(if self.limit > 2 << 20 { 2 } else { 1 }),
            ..ArenaOptions::new(self.limit)
        }
    }
}

/// Cases of every granule, of limits from one pageblock, and of up to `most` operations.
pub fn cases(most: usize) -> impl Strategy<Value = Case> {
    let granule = prop_oneof![Just(4 << 10), Just(16 << 10), Just(64 << 10)];
    let limit = prop_oneof![
        Just(2_u64 << 20),
        Just(3 << 20),
        Just(4 << 20),
        Just(16 << 20)
    ];
    let max_objects = prop_oneof![Just(12_u32), Just(600), Just(5000)];
    let room = prop_oneof![
        Just(None),
        Just(Some(60 << 10)),
        Just(Some(200 << 10)),
        Just(Some(900 << 10))
    ];
    let options = (1_usize..=3, any::<bool>(), max_objects, room);
    let options = options.prop_map(|(pools, zero_freed, max_objects, room)| RunOptions {
        pools,
        zero_freed,
        max_objects,
        room,
        validate_every: 1,
    });
    (granule, limit, options, ops(1, most)).prop_map(|(granule, limit, options, ops)| Case {
        granule,
        limit,
        options,
        ops,
    })
}
