//! Lengths, between the types of memory and those of the protocol.
//!
//! A length that does not fit becomes the largest one. None of them does: a request or reply is
//! shorter than 4 GiB, and `usize` has 32 bits at least.

/// Returns a length of the protocol as one of memory.
#[inline]
pub(crate) fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// Returns a length of memory as one of 32 bits.
#[inline]
pub(crate) fn to_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
