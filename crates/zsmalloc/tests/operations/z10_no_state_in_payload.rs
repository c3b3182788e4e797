//! Row Z10: no state in payload. Every byte of every attached frame that belongs to no object is
//! overwritten between operations, and everything goes on.

#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

use zs_mm::PageSize;
use zs_model::{Numbers, Op, Report, RunOptions, SlotTable, Words, World, run, scaled};
use zsmalloc::HandleTable;

fn scribble_between_operations<W: Words>(page: PageSize, zero_freed: bool) -> Report {
    let mut total = Report::default();
    for seed in 0..scaled(3) {
        let ops = Op::decode(&Numbers::new(seed).bytes(2500));
        let ops: Vec<Op> = ops
            .into_iter()
            .filter(|op| !matches!(op, Op::HoldMap { .. }))
            .flat_map(|op| [op, Op::Scribble { seed: seed as u8 }])
            .collect();
        let (arena, world) = World::arena(page, 4 << 20, 4096).expect("an arena");
        let options = RunOptions {
            zero_freed,
            ..RunOptions::default()
        };
        let report = run::<_, W>(&arena, &world, &options, &ops)
            .unwrap_or_else(|mismatch| panic!("{mismatch}"));
        total.add(&report);
    }
    total
}

#[test]
fn z10_every_byte_beside_the_objects_may_change() {
    for page in PageSize::ALL {
        let handles = scribble_between_operations::<HandleTable>(page, false);
        let words = scribble_between_operations::<SlotTable>(page, true);
        for report in [handles, words] {
            let counts = [
                report.scribbled,
                report.inserted,
                report.freed,
                report.replaced,
            ];
            assert!(counts.iter().all(|&count| count > 15), "{report:?}");
        }
    }
}
