//! The memory that a process could still take, and the limit that bounds it.

use std::path::PathBuf;

/// The limit that bounds the memory of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryBound {
    /// The memory of the system.
    System,
    /// A limit of a control group.
    Group {
        /// The group's folder.
        group: PathBuf,
        /// The file in it with the limit, for example `memory.max`.
        file: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
}

/// The memory that a process could still take, and its bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvailableMemory {
    /// In bytes.
    pub bytes: u64,
    /// The tightest of all bounds.
    pub bound: MemoryBound,
}
