//! LZ4 block format by liblz4's slow search: smaller blocks, which every LZ4 decompressor reads.

use crate::{
    Error, Lz4hcLevel,
    lz4::{Lz4, max_compressed_len},
    stream::{Codec, Compressed},
};

/// The level. liblz4 keeps its 256 KiB of tables for this search in a thread-local, made when a thread first
/// compresses.
pub(crate) struct Lz4hc(pub(crate) Lz4hcLevel);

/// What a thread takes that compresses: `LZ4_STREAMHC_MINSIZE`.
const TABLES: usize = 262_200;

impl Codec for Lz4hc {
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Compressed, Error> {
        // liblz4 counts in `int`: no more of a huge `dst` is shown to it than it can use.
        let room = dst.len().min(max_compressed_len(src.len()));
        match lzzzz::lz4_hc::compress(src, &mut dst[..room], self.0.get()) {
            Ok(len) => Ok(Compressed::Fits(len)),
            // Its one error is that the result does not fit.
            Err(_) => Ok(Compressed::DoesNotFit),
        }
    }

    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        Lz4.decompress(src, dst)
    }

    fn memory(&self) -> usize {
        TABLES
    }
}
