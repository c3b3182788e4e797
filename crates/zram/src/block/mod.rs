//! One block: what its word says, the table of all words, the threads that wait.

pub(crate) mod content;
pub(crate) mod dedup_index;
pub(crate) mod table;
pub(crate) mod waiters;
