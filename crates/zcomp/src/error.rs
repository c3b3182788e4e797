//! What can go wrong in a stream.

use std::fmt;

/// Why a stream could not be made, or a page not be compressed or decompressed.
///
/// After any of them the stream is as good as new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The codec's working memory could not be allocated.
    NoMemory,
    /// A page of `len` bytes, for a stream (or a crate) whose longest is `max`.
    TooLong {
        /// Length of the page, in bytes.
        len: usize,
        /// The longest that is taken, in bytes.
        max: usize,
    },
    /// The bytes are no compressed form of a page of the expected length: damaged, cut short,
    /// followed by other bytes, made by another algorithm, or made from a longer page.
    Corrupt,
    /// The bytes are well formed, but stand for a shorter page.
    Short {
        /// Length that was asked for, in bytes.
        expected: usize,
        /// Length that the bytes stand for.
        actual: usize,
    },
    /// The compression library refused for a reason of its own, given in its words. Not seen in
    /// practice.
    Library(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoMemory => f.write_str("no memory for the codec's working state"),
            Self::TooLong { len, max } => write!(f, "page of {len} bytes, longest allowed {max}"),
            Self::Corrupt => f.write_str("corrupt compressed bytes, or made from a longer page"),
            Self::Short { expected, actual } => {
                write!(
                    f,
                    "compressed bytes stand for {actual} bytes, expected {expected}"
                )
            }
            Self::Library(reason) => write!(f, "compression library: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
