//! Passes over the store: idle marks, recompression, deduplication, writeback.

pub(crate) mod dedup;
pub(crate) mod dictionary;
pub(crate) mod idle;
pub(crate) mod recompress;
pub(crate) mod scan;
pub(crate) mod writeback;
