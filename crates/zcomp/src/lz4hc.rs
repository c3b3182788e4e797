//! LZ4 block format by liblz4's slow search: smaller blocks, which every LZ4 decompressor reads.

use crate::{
    Error, Lz4hcLevel,
    codec::{Codec, Compressed},
    lz4::{Lz4, max_compressed_len},
};
use lzzzz::lz4_hc::Compressor;

/// The level, and the tables for this search: the stream's own, so that they are counted with it.
pub(crate) struct Lz4hc {
    level: Lz4hcLevel,
    tables: Compressor<'static>,
}

/// What a stream takes: `LZ4_STREAMHC_MINSIZE`, and the 64 KiB that `Compressor` keeps of the last
/// page, for nothing here.
const TABLES: usize = 262_200 + (64 << 10);

impl Lz4hc {
    pub(crate) fn new(level: Lz4hcLevel) -> Result<Self, Error> {
        let mut tables = Compressor::new().map_err(|_| Error::NoMemory)?;
        // The first page has it take the rest of its memory.
        let _ = tables.next(&[0; 16], &mut [0; 64]);
        Ok(Self { level, tables })
    }
}

impl Codec for Lz4hc {
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Compressed, Error> {
        // liblz4 counts in `int`: no more of a huge `dst` is shown to it than it can use.
        let room = dst.len().min(max_compressed_len(src.len()));
        // Forgets the last page: none may depend on another.
        self.tables.attach_dict(None, self.level.get());
        match self.tables.next(src, &mut dst[..room]) {
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
