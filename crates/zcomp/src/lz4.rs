//! LZ4 block format, by liblz4.

use crate::{
    Error,
    codec::{Codec, Compressed},
};

/// Returns the length of a buffer into which every page of `len` bytes compresses.
pub(crate) fn max_compressed_len(len: usize) -> usize {
    lzzzz::lz4::max_compressed_size(len)
}

/// Has no state: liblz4 keeps its 16 KiB hash table on the stack.
pub(crate) struct Lz4;

impl Codec for Lz4 {
    // `compress_fill` takes as much of the page as fits, at the speed and with the result of
    // `compress`, which however keeps its table in a thread-local that each thread allocates
    // when it first compresses.
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Compressed, Error> {
        // liblz4 counts in `int`: no more of a huge `dst` is shown to it than it can use.
        let room = dst.len().min(max_compressed_len(src.len()));
        match lzzzz::lz4::compress_fill(src, &mut dst[..room]) {
            Ok((taken, len)) if taken == src.len() => Ok(Compressed::Fits(len)),
            // Its one error is that not even a first byte fits.
            Ok(_) | Err(_) => Ok(Compressed::DoesNotFit),
        }
    }

    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        // Nothing longer can be a block of this page, and `int` holds every length up to here.
        if src.len() > max_compressed_len(dst.len()) {
            return Err(Error::Corrupt);
        }
        let expected = dst.len();
        match lzzzz::lz4::decompress(src, dst) {
            Ok(actual) if actual == expected => Ok(()),
            Ok(actual) => Err(Error::Short { expected, actual }),
            Err(_) => Err(Error::Corrupt),
        }
    }
}
