//! Objects and frames moved: compaction, migration, upkeep.

pub(crate) mod compact;
pub(crate) mod drain;
pub(crate) mod maintain;
pub(crate) mod migrate;
