//! The ways through a pool: objects in, out, changed.

pub(crate) mod flags;
pub(crate) mod free;
pub(crate) mod insert;
pub(crate) mod map;
pub(crate) mod read;
pub(crate) mod read_many;
pub(crate) mod replace;
pub(crate) mod visit;
pub(crate) mod write;
