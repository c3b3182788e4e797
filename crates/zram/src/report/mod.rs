//! What a store holds, and whether it adds up.

pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod validate;
