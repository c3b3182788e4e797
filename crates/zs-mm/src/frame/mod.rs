//! One frame: its descriptor, its status, sets and caches of frames.

pub(crate) mod cache;
pub(crate) mod descriptor;
pub(crate) mod mask;
