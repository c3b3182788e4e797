//! The operations of the Rust property tests, through the C interface and the kernel's names,
//! against the same model: every result, every byte and every counter, at each frame size.
//!
//! | module | responsibility |
//! |---|---|
//! | `calls` | C's functions, as Rust calls them |
//! | `driver` | a run: its pools, its operations, its end |
//! | `objects` | operations on one object |
//! | `held` | views and maps that stay open from one operation to another |
//!
//! What C cannot do is left out: faults in the system, bytes of its own in words, rubbish between
//! objects.
#![cfg(not(zs_loom))]

mod calls;
mod driver;
mod held;
mod objects;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::RefCell;
use zs_mm::PageSize;
use zs_model::{Report, cases, scaled};

fn check(page: PageSize) -> Report {
    let total = RefCell::new(Report::default());
    let config = Config {
        cases: scaled(256) as u32,
        ..Config::with_source_file(file!())
    };
    let outcome = TestRunner::new(config).run(&cases(120), |case| {
        let report = driver::run(page, &case).map_err(TestCaseError::fail)?;
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
        report.moved,
        report.compacted,
    ];
    assert!(counts.iter().all(|&count| count > 0), "{report:?}");
}

#[test]
fn the_c_interface_agrees_with_the_model_at_4k() {
    met_everything(&check(PageSize::K4));
}

#[test]
fn the_c_interface_agrees_with_the_model_at_16k() {
    met_everything(&check(PageSize::K16));
}

#[test]
fn the_c_interface_agrees_with_the_model_at_64k() {
    met_everything(&check(PageSize::K64));
}
