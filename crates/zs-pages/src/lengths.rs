//! Lengths of 64 bits as lengths of memory.

/// Returns a length of 64 bits as one of memory. Every such length fits: `zs-mm` refuses systems
/// whose addresses have fewer bits.
#[inline]
pub(crate) fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
