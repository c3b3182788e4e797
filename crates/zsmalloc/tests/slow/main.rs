//! Tests that take long, side by side: one waits while the other works.
#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which end the test or say what it left out"
)]

mod faults;
mod z28_what_went_back_stays_back;
