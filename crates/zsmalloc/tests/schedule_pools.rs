//! Random schedules of threads on shared pools: whatever the order, what they see has an
//! explanation, and in the end everything adds up.
#![cfg(zs_schedule)]
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which end the test or show what it met"
)]

use zs_mm::PageSize;
use zs_model::concurrent::{Batch, Meeting, batch, meet};
use zs_model::{SlotTable, scaled};
use zsmalloc::HandleTable;

/// Seeds of one test: some eight seconds on one core. Arenas of larger frames take longer to make.
fn seeds(page: PageSize) -> u64 {
    match page {
        PageSize::K4 => scaled(2400),
        PageSize::K16 => scaled(1400),
        PageSize::K64 => scaled(600),
    }
}

/// What must have been met, whoever owns the words.
const WINDOWS: [(&str, &str); 31] = [
    ("insert", "done"),
    ("insert", "no memory"),
    ("read", "done"),
    ("read", "spanning"),
    ("read", "busy"),
    ("read", "stale"),
    ("replace", "done"),
    ("replace", "busy"),
    ("replace", "stale"),
    ("replace_wait", "done"),
    ("write", "done"),
    ("write", "busy"),
    ("map", "for writing"),
    ("map", "busy"),
    ("free", "busy"),
    ("free", "deferred"),
    ("trim", "done"),
    ("compact", "moved"),
    ("compact", "busy"),
    ("compact", "elsewhere"),
    ("shrink", "done"),
    ("visit", "done"),
    ("migrate", "moved"),
    ("migrate", "freed"),
    ("migrate", "again"),
    ("migrate", "drains"),
    ("migrate", "busy"),
    ("migrate", "isolated"),
    ("isolate", "done"),
    ("put back", "done"),
    ("schedule", "parked"),
];

fn check<C: Meeting>(page: PageSize, more: &[(&str, &str)]) -> Batch {
    let batch = batch::<C>(page, seeds(page)).unwrap_or_else(|what| panic!("{what}"));
    println!("{}", batch.tally);
    let met = batch.met(&WINDOWS).and_then(|()| batch.met(more));
    met.unwrap_or_else(|what| panic!("{what}"));
    batch
}

fn handles(page: PageSize) {
    check::<HandleTable>(page, &[("allocate", "done")]);
}

/// Two stores into one word: one is refused, or loses the race for it.
fn words(page: PageSize) {
    check::<SlotTable>(page, &[("insert", "occupied"), ("insert", "busy")]);
}

#[test]
fn handle_pools_at_4k() {
    handles(PageSize::K4);
}

#[test]
fn handle_pools_at_16k() {
    handles(PageSize::K16);
}

#[test]
fn handle_pools_at_64k() {
    handles(PageSize::K64);
}

#[test]
fn client_words_at_4k() {
    words(PageSize::K4);
}

#[test]
fn client_words_at_16k() {
    words(PageSize::K16);
}

#[test]
fn client_words_at_64k() {
    words(PageSize::K64);
}

/// A failure can be had again: equal seeds, equal runs.
#[test]
fn a_seed_says_everything() {
    for seed in 0..20 {
        let run =
            || meet::<HandleTable>(PageSize::K4, seed).unwrap_or_else(|what| panic!("{what}"));
        let ((first, met), (again, met_again)) = (run(), run());
        assert_eq!((first, met), (again, met_again));
        assert!(first.points > 0);
    }
}
