//! Tests that take a minute, side by side: one waits while the other works.
#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

mod faults;
mod z28_what_went_back_stays_back;
