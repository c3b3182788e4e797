//! What each operation of an arena promises. One program: linking takes longer than running.

#![cfg(not(zs_loom))]

mod balloon;
#[path = "../common/mod.rs"]
mod common;
mod compaction;
mod contiguous;
mod decay;
mod descriptor;
mod faults;
mod huge_blocks;
mod limits;
mod m10_scanners_meet_once;
mod m11_cancel_ends_within_a_cluster;
mod m14_bounded_work_in_one_hold;
mod migrate;
mod model;
mod offline;
mod paged_tables;
mod set_limit;
mod tiers;
mod zone_operations;
mod zones;
