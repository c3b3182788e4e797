//! zstd, one frame a page, by libzstd.
//!
//! A frame is two header bytes and one block for each 128 KiB begun: `0`, window, block, ... . The
//! header leaves out all that it can: magic number, content size, checksum. What else libzstd would
//! read (other frames behind the first, windows of gigabytes, dictionary ids) is refused here,
//! before it is called.

use zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, ErrorCode, FrameFormat, get_error_name,
    zstd_sys::ZSTD_ErrorCode,
};

use crate::{
    Dictionary, Error, ZstdLevel,
    codec::{Codec, Compressed, MAX_PAGE_LEN},
};

/// Returns the length of a buffer into which every page of `len` bytes compresses.
pub(crate) fn max_compressed_len(len: usize) -> usize {
    zstd_safe::compress_bound(len)
}

/// A compression and a decompression context, both used again for each page.
pub(crate) struct Zstd {
    compressor: CCtx<'static>,
    decompressor: DCtx<'static>,
    dictionary: Option<Dictionary>,
}

impl Zstd {
    /// Contexts for pages of up to `page_len` bytes.
    pub(crate) fn new(
        level: ZstdLevel,
        page_len: usize,
        dictionary: Option<&Dictionary>,
    ) -> Result<Self, Error> {
        let mut compressor = CCtx::try_create().ok_or(Error::NoMemory)?;
        for parameter in [
            CParameter::CompressionLevel(level.get()),
            CParameter::Format(FrameFormat::Magicless),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
            CParameter::DictIdFlag(false),
        ] {
            compressor.set_parameter(parameter).map_err(error)?;
        }
        let mut decompressor = DCtx::try_create().ok_or(Error::NoMemory)?;
        decompressor
            .set_parameter(DParameter::Format(FrameFormat::Magicless))
            .map_err(error)?;
        if let Some(dictionary) = dictionary {
            // Each compressor has tables of its own: to share them it would have to borrow them.
            let bytes = dictionary.as_bytes();
            compressor.load_dictionary(bytes).map_err(error)?;
        }

        let mut this = Self {
            compressor,
            decompressor,
            dictionary: dictionary.cloned(),
        };
        this.warm_up(page_len)?;
        Ok(this)
    }

    /// Compresses a page of zeros: libzstd allocates its tables when it learns the page's length.
    /// Whether the result fits does not matter.
    fn warm_up(&mut self, page_len: usize) -> Result<(), Error> {
        let mut page = Vec::new();
        page.try_reserve_exact(page_len)
            .map_err(|_| Error::NoMemory)?;
        page.resize(page_len, 0);
        self.compress(&page, &mut [0; 64]).map(drop)
    }
}

impl Codec for Zstd {
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Compressed, Error> {
        match self.compressor.compress2(dst, src) {
            Ok(len) => Ok(Compressed::Fits(len)),
            Err(code) if is(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => {
                Ok(Compressed::DoesNotFit)
            }
            Err(code) => Err(error(code)),
        }
    }

    // Decompressing in one call, libzstd needs no window beside `dst`, so no frame makes it
    // allocate.
    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        if !is_one_frame(src) {
            return Err(Error::Corrupt);
        }
        let expected = dst.len();
        let decompressed = match &self.dictionary {
            None => self.decompressor.decompress(dst, src),
            Some(dictionary) => {
                let tables = dictionary.tables();
                self.decompressor.decompress_using_ddict(dst, src, tables)
            }
        };
        match decompressed {
            Ok(actual) if actual == expected => Ok(()),
            Ok(actual) => Err(Error::Short { expected, actual }),
            Err(_) => Err(Error::Corrupt),
        }
    }

    fn memory(&self) -> usize {
        self.compressor.sizeof() + self.decompressor.sizeof()
    }
}

/// Says whether `src` is one frame of this module's making to its last byte, as far as its headers
/// tell.
fn is_one_frame(src: &[u8]) -> bool {
    /// Window descriptors have the window's exponent, less 10, from bit 3 up; no window exceeds the
    /// longest page.
    const MAX_WINDOW: u8 = ((MAX_PAGE_LEN.ilog2() - 10) << 3) as u8;
    /// The block type of one byte to be repeated; of the others the size is what is stored.
    const REPEATED: u32 = 1;

    let [0, 0..=MAX_WINDOW, blocks @ ..] = src else {
        return false;
    };
    let mut rest = blocks;
    while let [a, b, c, body @ ..] = rest {
        // Three little-endian bytes: last block, two bits of type, size.
        let header = u32::from_le_bytes([*a, *b, *c, 0]);
        let stored = if header >> 1 & 3 == REPEATED {
            1
        } else {
            header as usize >> 3
        };
        match body.get(stored..) {
            Some(after) if header & 1 == 1 => return after.is_empty(),
            Some(after) => rest = after,
            None => return false,
        }
    }
    false
}

/// Says whether a code of libzstd means this.
fn is(code: ErrorCode, meaning: ZSTD_ErrorCode) -> bool {
    code == (meaning as usize).wrapping_neg()
}

fn error(code: ErrorCode) -> Error {
    if is(code, ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
        return Error::NoMemory;
    }
    Error::Library(get_error_name(code))
}
