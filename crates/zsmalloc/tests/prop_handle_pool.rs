//! Random operations on one to three handle pools of one arena, against the model: every result,
//! every byte and every counter, at each frame size, granule and kind of limit.
#![cfg(not(zs_loom))]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use zs_mm::PageSize;
use zs_model::{Op, Report, RunOptions, World, ops, run, scaled};
use zsmalloc::HandleTable;

/// One case: the arena and pools that it runs on, and the operations.
#[derive(Debug, Clone)]
struct Case {
    granule: usize,
    blocks: u64,
    options: RunOptions,
    ops: Vec<Op>,
}

fn cases() -> impl Strategy<Value = Case> {
    let granule = prop_oneof![Just(4 << 10), Just(16 << 10), Just(64 << 10)];
    let blocks = prop_oneof![Just(1_u64), Just(2), Just(8)];
    let most = prop_oneof![Just(20_u32), Just(600), Just(5000)];
    let options = (1_usize..=3, any::<bool>(), most);
    (granule, blocks, options, ops(1, 120)).prop_map(|(granule, blocks, options, ops)| {
        let (pools, zero_freed, max_objects) = options;
        Case {
            granule,
            blocks,
            options: RunOptions {
                pools,
                zero_freed,
                max_objects,
                validate_every: 1,
            },
            ops,
        }
    })
}

fn check(page: PageSize, cases_of_all: u64) -> Report {
    let total = RefCell::new(Report::default());
    let config = Config {
        cases: scaled(cases_of_all) as u32,
        ..Config::with_source_file(file!())
    };
    let outcome = TestRunner::new(config).run(&cases(), |case| {
        let limit = case.blocks << 21;
        let (arena, world) = World::arena(page, limit, case.granule).expect("an arena");
        let report = run::<_, HandleTable>(&arena, &world, &case.options, &case.ops)
            .map_err(|mismatch| TestCaseError::fail(mismatch.to_string()))?;
        total.borrow_mut().add(&report);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    total.into_inner()
}

fn met_everything(report: &Report) {
    let counts = [
        report.inserted,
        report.replaced,
        report.read,
        report.spanning,
        report.mapped,
        report.freed,
        report.deferred,
        report.busy,
        report.stale,
        report.no_memory,
        report.scribbled,
    ];
    assert!(counts.iter().all(|&count| count > 0), "{report:?}");
}

#[test]
fn handle_pools_agree_with_the_model_at_4k() {
    met_everything(&check(PageSize::K4, 256));
}

#[test]
fn handle_pools_agree_with_the_model_at_16k() {
    met_everything(&check(PageSize::K16, 256));
}

#[test]
fn handle_pools_agree_with_the_model_at_64k() {
    met_everything(&check(PageSize::K64, 256));
}
