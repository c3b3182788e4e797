//! What a pool holds, and whether it adds up; its end.

pub(crate) mod destroy;
pub(crate) mod stats;
pub(crate) mod validate;
