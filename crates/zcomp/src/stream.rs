//! One thread's compression state.

use std::fmt;

use crate::codec::{Codec, Compressed, MAX_PAGE_LEN};
use crate::{
    Algorithm, Dictionary, Error, deflate::Deflate, lz4::Lz4, lz4hc::Lz4hc, none::Raw, zstd::Zstd,
};

/// Compresses and decompresses pages, one at a time, with working memory of its own.
///
/// Use one per thread, or share several through [`Streams`](crate::Streams). What one stream wrote,
/// every other of the same algorithm reads, whatever its level. Calls never block.
///
/// # Memory
/// All of it is taken by [`Stream::new`]. `lz4` needs none, but 17 KiB of stack while it
/// compresses. `zstd` takes 0.2 MiB (level 1, pages of 4 KiB) to 18 MiB (level 22, 1 MiB). `lz4hc`
/// takes 320 KiB, `deflate` 0.1 to 9 MiB. One exception: a `zstd` stream that meets over a hundred
/// pages in a row far shorter than its `page_len` shrinks its memory, and takes it back when a
/// longer one comes; give each page length a stream of its own where that matters.
pub struct Stream {
    codec: Box<dyn Codec>,
    algorithm: Algorithm,
    page_len: usize,
}

impl Stream {
    /// Makes a stream for pages of up to `page_len` bytes.
    ///
    /// # Errors
    /// [`Error::TooLong`] if `page_len` is above [`MAX_PAGE_LEN`]; [`Error::NoMemory`] if the
    /// codec's state cannot be allocated.
    pub fn new(algorithm: Algorithm, page_len: usize) -> Result<Self, Error> {
        Self::with_dictionary(algorithm, page_len, None)
    }

    /// Makes a stream for pages of up to `page_len` bytes, with what they have in common. What it
    /// wrote, only a stream with the same dictionary reads.
    ///
    /// # Errors
    /// As [`Stream::new`]; [`Error::Library`] if there is a dictionary and the algorithm is not
    /// zstd.
    pub fn with_dictionary(
        algorithm: Algorithm,
        page_len: usize,
        dictionary: Option<&Dictionary>,
    ) -> Result<Self, Error> {
        check_len(page_len, MAX_PAGE_LEN)?;
        if dictionary.is_some() && !matches!(algorithm, Algorithm::Zstd(_)) {
            return Err(Error::Library("only zstd takes a dictionary"));
        }
        let codec: Box<dyn Codec> = match algorithm {
            Algorithm::Lz4 => Box::new(Lz4),
            Algorithm::Lz4hc(level) => Box::new(Lz4hc::new(level)?),
            Algorithm::Zstd(level) => Box::new(Zstd::new(level, page_len, dictionary)?),
            Algorithm::Deflate(level) => Box::new(Deflate::new(level)?),
            Algorithm::None => Box::new(Raw),
        };
        Ok(Self {
            codec,
            algorithm,
            page_len,
        })
    }

    /// Returns the algorithm that the stream was made for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the longest page that the stream takes, in bytes.
    #[must_use]
    pub const fn page_len(&self) -> usize {
        self.page_len
    }

    /// Returns the number of bytes of working memory that the stream takes: as the library tells
    /// for `zstd`, and at most a tenth too many for the others.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.codec.memory()
    }

    /// Compresses `src` into the start of `dst`, if it fits there.
    ///
    /// `dst` may have any length. Of [`Algorithm::max_compressed_len`] it always suffices; a
    /// shorter one suffices if it is some bytes longer than the result (16 for `lz4`, `lz4hc`
    /// and `deflate`, 32 for `zstd`, none for `none`), and may from the result's own length on.
    /// The bytes of `dst` after the result are unspecified. An empty page compresses to no bytes.
    ///
    /// # Errors
    /// [`Error::TooLong`] if `src` is longer than the stream's `page_len`.
    pub fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Compressed, Error> {
        check_len(src.len(), self.page_len)?;
        if src.is_empty() {
            return Ok(Compressed::Fits(0));
        }
        self.codec.compress(src, dst)
    }

    /// Decompresses all of `src` into all of `dst`, whose length is that of the page which was
    /// compressed.
    ///
    /// `src` may hold any bytes: the call returns, allocates nothing, and writes nothing but `dst`.
    /// Damage that still decodes to the right length is not noticed: the formats carry no
    /// checksum. On an error the bytes of `dst` are unspecified.
    ///
    /// # Errors
    /// [`Error::TooLong`] if `dst` is longer than the stream's `page_len`; [`Error::Corrupt`] or
    /// [`Error::Short`] if `src` is not the compressed form of a page of `dst`'s length.
    pub fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        check_len(dst.len(), self.page_len)?;
        if dst.is_empty() {
            return if src.is_empty() {
                Ok(())
            } else {
                Err(Error::Corrupt)
            };
        }
        self.codec.decompress(src, dst)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("algorithm", &self.algorithm)
            .field("page_len", &self.page_len)
            .finish_non_exhaustive()
    }
}

const fn check_len(len: usize, max: usize) -> Result<(), Error> {
    if len > max {
        return Err(Error::TooLong { len, max });
    }
    Ok(())
}
