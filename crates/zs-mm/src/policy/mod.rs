//! What uses movers: compaction, contiguous ranges, zones that go offline, balloons, tiers.

pub(crate) mod balloon;
pub(crate) mod clear;
pub(crate) mod compaction;
pub(crate) mod contiguous;
pub(crate) mod offline;
pub(crate) mod proactive;
pub(crate) mod scanner;
pub(crate) mod survey;
pub(crate) mod tiers;
