//! Raw deflate streams, by libdeflate.

use libdeflater::{CompressionError, CompressionLvl, Compressor, DecompressionError, Decompressor};

use crate::{
    DeflateLevel, Error,
    codec::{Codec, Compressed},
};

/// Returns the length of a buffer into which every page of `len` bytes compresses: the page in
/// stored blocks, each with 5 bytes before it, and 8 more that libdeflate writes ahead.
pub(crate) fn max_compressed_len(len: usize) -> usize {
    len + 5 * len.div_ceil(5000).max(1) + 9
}

/// A compressor and a decompressor, both used again for each page.
pub(crate) struct Deflate {
    compressor: Compressor,
    decompressor: Decompressor,
    /// Bytes of both.
    memory: usize,
}

/// Returns the number of bytes of a stream of this level: libdeflate does not tell, so they were
/// measured (1.25, x86-64). Fast, usual and near-optimal search have tables of different size.
fn memory(level: DeflateLevel) -> usize {
    match level.get() {
        ..=1 => 210 << 10,
        2..=9 => 664 << 10,
        _ => 8820 << 10,
    }
}

impl Deflate {
    pub(crate) fn new(level: DeflateLevel) -> Result<Self, Error> {
        // Both numbers count from 1 to 12.
        let number = CompressionLvl::new(level.get())
            .map_err(|_| Error::Library("libdeflate does not know the level"))?;
        Ok(Self {
            compressor: Compressor::new(number),
            decompressor: Decompressor::new(),
            memory: memory(level),
        })
    }
}

impl Codec for Deflate {
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Compressed, Error> {
        match self.compressor.deflate_compress(src, dst) {
            Ok(len) => Ok(Compressed::Fits(len)),
            Err(CompressionError::InsufficientSpace) => Ok(Compressed::DoesNotFit),
        }
    }

    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        let expected = dst.len();
        match self.decompressor.deflate_decompress(src, dst) {
            Ok(actual) if actual == expected => Ok(()),
            Ok(actual) => Err(Error::Short { expected, actual }),
            Err(DecompressionError::BadData | DecompressionError::InsufficientSpace) => {
                Err(Error::Corrupt)
            }
        }
    }

    fn memory(&self) -> usize {
        self.memory
    }
}
