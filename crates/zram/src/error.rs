//! What can go wrong.

use std::io;

/// Why a request was refused or failed. Unless a request touched several blocks, a failed one has
/// changed nothing; of several blocks those before the failing one may be new.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request reaches beyond the end.
    #[error("{len} bytes at {offset} reach beyond the end of the store, at {size}")]
    OutOfRange {
        /// Its begin, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// The store's size, in bytes.
        size: u64,
    },
    /// The memory limit is reached, or the system has no memory.
    #[error("no memory: the store's limit is reached, or the system refused memory")]
    NoMemory,
    /// An option or argument that cannot be; the text says which, and what is allowed.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done while something else goes on; the text says what.
    #[error("busy: {0}")]
    Busy(&'static str),
    /// The stored bytes of a block are no page any more.
    #[error("block {block} is damaged: {what}")]
    Corrupt {
        /// The block.
        block: u32,
        /// The rule that is broken.
        what: String,
    },
    /// The compression library failed.
    #[error("compression: {0}")]
    Codec(#[from] zcomp::Error),
    /// The backing file, or a snapshot's file, failed.
    #[error("{what}: {source}")]
    Io {
        /// The step that failed.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no backing.
    #[error("no backing is set")]
    NoBacking,
    /// These bytes are no snapshot that this version reads.
    #[error("not a snapshot: {0}")]
    Snapshot(String),
    /// This process is a forked child of the one that made the store.
    #[error("the store is the parent's: a forked child cannot use it")]
    Forked,
}

impl Error {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<zsmalloc::Error> for Error {
    fn from(error: zsmalloc::Error) -> Self {
        match error {
            zsmalloc::Error::NoMemory => Self::NoMemory,
            zsmalloc::Error::Forked => Self::Forked,
            zsmalloc::Error::Busy => Self::Busy("the object is in use"),
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl From<zs_mm::Error> for Error {
    fn from(error: zs_mm::Error) -> Self {
        match error {
            zs_mm::Error::NoMemory => Self::NoMemory,
            zs_mm::Error::Forked => Self::Forked,
            other => Self::Invalid(other.to_string()),
        }
    }
}
