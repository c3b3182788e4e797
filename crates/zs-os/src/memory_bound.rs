//! What a process could still take, and the bound of it.

use std::path::PathBuf;

/// The bound of the memory that a process could still take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryBound {
    /// The memory of the system.
    System,
    /// A limit of a control group.
    Group {
        /// The group's folder.
        group: PathBuf,
        /// The file in it that says the limit: `memory.max`, say.
        file: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
}

/// Memory that a process could still take, and the reason why it is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvailableMemory {
    /// In bytes.
    pub bytes: u64,
    /// The tightest of all bounds.
    pub bound: MemoryBound,
}
