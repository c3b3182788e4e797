//! What an operation of a pool can answer.

use core::fmt;

/// Why an operation was not done. Whatever the error, nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An object has at least one byte.
    ZeroSize,
    /// `size` bytes were asked for or reached; `max` is the most there can be.
    TooLarge {
        /// The size asked for, or the end of the range.
        size: usize,
        /// The page size, or the object's length.
        max: usize,
    },
    /// The caller's buffer is too short: so many bytes are needed.
    BufferTooSmall {
        /// The object's length.
        needed: usize,
    },
    /// The arena's limit or the system's memory is reached, or the pool has no word left.
    NoMemory,
    /// The handle names no object: freed, never issued, or another pool's.
    Stale,
    /// Somebody is using the object in a way that excludes this; try again later.
    Busy,
    /// A client-owned word holds an object already: replace it.
    Occupied,
    /// This process is a forked child of the pool's: it may read, if the backing allows that much,
    /// and nothing else.
    Forked,
    /// The options of a pool are out of bounds; the text says which and what is allowed.
    Invalid(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroSize => f.write_str("an object of 0 bytes: at least 1 is needed"),
            Self::TooLarge { size, max } => {
                write!(f, "{size} bytes are too many: at most {max} are allowed")
            }
            Self::BufferTooSmall { needed } => {
                write!(f, "the buffer is too short: {needed} bytes are needed")
            }
            Self::NoMemory => {
                f.write_str("no memory: the limit is reached, or the system refused memory")
            }
            Self::Stale => f.write_str("stale handle: it names no object of this pool"),
            Self::Busy => f.write_str("busy: the object is in use, try again later"),
            Self::Occupied => f.write_str("the word holds an object already"),
            Self::Forked => f.write_str(
                "the pool is the parent's: a forked child may only read, and not a memfd",
            ),
            Self::Invalid(what) => write!(f, "invalid pool options: {what}"),
        }
    }
}

impl core::error::Error for Error {}

impl From<zs_mm::Error> for Error {
    fn from(error: zs_mm::Error) -> Self {
        match error {
            zs_mm::Error::Forked => Self::Forked,
            zs_mm::Error::TooManyPools => Self::Invalid("the arena has no room for another pool"),
            _ => Self::NoMemory,
        }
    }
}
