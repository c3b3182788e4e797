//! What a store promises. One program: linking takes longer than running.

#[path = "../common/mod.rs"]
mod common;
mod dedup;
mod front_end;
mod full;
mod limits;
mod passes;
mod prop_store;
mod requests;
mod rows;
mod snapshot;
mod starving;
mod stress;
mod stress_full;
mod waiting;
mod writeback;
mod writeback_backing;
mod writeback_holes;
mod writeback_limits;
