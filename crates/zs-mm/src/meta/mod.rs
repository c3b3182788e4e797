//! Metadata: tables, their memory, and the limit that counts it.

pub(crate) mod budget;
pub(crate) mod page_state;
pub(crate) mod table;
