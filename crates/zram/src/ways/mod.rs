//! The ways through a store: blocks in, out, changed.

pub(crate) mod manage;
pub(crate) mod read;
pub(crate) mod shrink;
pub(crate) mod write;
pub(crate) mod zero;
