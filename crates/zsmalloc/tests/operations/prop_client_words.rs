//! Random operations on pools whose words are the client's own, against the model: a store into a
//! word in use or not as it was thought to be, client bits kept, empty values left behind.
#![cfg(not(zs_loom))]

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::RefCell;
use zs_mm::PageSize;
use zs_model::{Report, SlotTable, World, cases, run, scaled};

fn check(page: PageSize) -> Report {
    let total = RefCell::new(Report::default());
    let config = Config {
        cases: scaled(256) as u32,
        ..Config::with_source_file(file!())
    };
    let outcome = TestRunner::new(config).run(&cases(120), |case| {
        let (arena, world) = World::with_options(case.arena(page), case.granule)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let report = run::<_, SlotTable>(&arena, &world, &case.options, &case.ops)
            .map_err(|mismatch| TestCaseError::fail(mismatch.to_string()))?;
        total.borrow_mut().add(&report);
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    total.into_inner()
}

/// A test counts what it is about, and fails at zero.
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
        report.moved,
        report.compacted,
        report.migrated,
        report.drained,
        report.freed_by_movers,
        report.refused_to_movers,
        report.occupied,
    ];
    assert!(counts.iter().all(|&count| count > 0), "{report:?}");
}

#[test]
fn client_words_agree_with_the_model_at_4k() {
    met_everything(&check(PageSize::K4));
}

#[test]
fn client_words_agree_with_the_model_at_16k() {
    met_everything(&check(PageSize::K16));
}

#[test]
fn client_words_agree_with_the_model_at_64k() {
    met_everything(&check(PageSize::K64));
}
