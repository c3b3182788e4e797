//! What every codec does.

use crate::Error;

/// The longest page that any stream takes, in bytes: 1 MiB.
pub const MAX_PAGE_LEN: usize = 1 << 20;

/// The answer of [`Stream::compress`](crate::Stream::compress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "without the length the compressed bytes cannot be used"]
pub enum Compressed {
    /// The compressed form is the first so many bytes of the destination.
    Fits(usize),
    /// The destination is too short for it, or too short for the codec to find out.
    DoesNotFit,
}

/// What an algorithm does; [`Stream`](crate::Stream) has checked the lengths, and neither `src` of
/// `compress` nor `dst` of `decompress` is empty. No call may depend on how an earlier one ended.
pub(crate) trait Codec: Send {
    /// Writes the compressed form of `src` to the start of `dst`, if it fits.
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Compressed, Error>;

    /// Fills `dst` from `src`, all of both.
    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<(), Error>;

    /// Returns the number of bytes of working memory.
    fn memory(&self) -> usize {
        0
    }
}
