//! What a store is to be.

use crate::block::dedup_index::SPARE;
use crate::error::Error;
use zcomp::{Algorithm, Dictionary};
use zs_mm::{MAX_ARENA_BYTES, PageSize, wide};

/// The unit of sizes, in bytes.
const SECTOR: u64 = 512;

/// The options of a store. Start from [`StoreOptions::new`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Bytes that the store shows: a multiple of 512, at least 512.
    pub size: u64,
    /// The largest size that [`resize`](crate::Store::resize) can give it; takes 8 bytes of
    /// address space a block. Default: 1 TiB, or `size` if that is more.
    pub max_size: Option<u64>,
    /// What is compressed as one. Larger blocks compress better, and cost more for small requests.
    /// Default: 4 KiB.
    pub block_size: PageSize,
    /// The algorithm for blocks when they are written. Default: LZ4.
    pub algorithm: Algorithm,
    /// A dictionary for it: zstd only.
    pub dictionary: Option<Dictionary>,
    /// The most bytes of memory that the store may hold, all metadata included: 2 MiB to 1 TiB,
    /// with blocks of any size. Default: [`default_limit`](Self::default_limit).
    pub limit: Option<u64>,
    /// The highest limit that [`set_limit`](crate::Store::set_limit) can give it, in bytes; takes
    /// as much address space, and no memory. Default: twice the limit, the size or `max_size`,
    /// whichever is most, up to 1 TiB.
    pub max_limit: Option<u64>,
    /// Blocks whose compressed form is longer than so many bytes are stored as they are: 8 to the
    /// block size. Default: as many as let an object share its frame, 31/32 of the block.
    pub raw_above: Option<usize>,
    /// Store identical blocks once. Such a store refuses recompression, writeback and marks of
    /// idleness. Default: no.
    pub dedup: bool,
    /// Remember when each block was last accessed, for [`IdleRule::OlderThan`](crate::IdleRule); 8
    /// bytes a block. Default: no.
    pub track_access: bool,
    /// Threads that compress or decompress at once without waiting for each other, as far as a
    /// sixteenth of the limit has room for what their codecs take. Default: the machine's.
    pub threads: Option<std::num::NonZeroUsize>,
}

impl StoreOptions {
    /// Makes a store of `size` bytes, with the defaults for the rest.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self {
            size,
            max_size: None,
            block_size: PageSize::K4,
            algorithm: Algorithm::Lz4,
            dictionary: None,
            limit: None,
            max_limit: None,
            raw_above: None,
            dedup: false,
            track_access: false,
            threads: None,
        }
    }

    /// Returns the limit of a store that is given none, in bytes: [`full_limit`](Self::full_limit),
    /// or half of the memory that is available to the process now, if that is less.
    #[must_use]
    pub fn default_limit(&self) -> u64 {
        let least = wide(self.block_size.block_bytes());
        let full = self.full_limit();
        full.min((zs_os::memory_available() / 2).max(least))
    }

    /// Returns what a store needs whose blocks do not compress, in bytes, metadata included: a
    /// sixteenth more than its size, and 2 MiB; at least a pageblock, and at most what an arena can
    /// be.
    #[must_use]
    pub fn full_limit(&self) -> u64 {
        let least = wide(self.block_size.block_bytes());
        self.size
            .saturating_add(self.size / 16 + (2 << 20))
            .clamp(least, MAX_ARENA_BYTES)
    }

    /// Returns the blocks of the largest size.
    pub(crate) fn max_blocks(&self) -> Result<u32, Error> {
        let block = wide(self.block_size.bytes());
        // Words have numbers of 32 bits; with deduplication there are two for each block, and some.
        let spare = if self.dedup { SPARE } else { 0 };
        let most = u64::from(u32::MAX / 2 - spare) * block;
        let asked = self.max_size.unwrap_or(self.size.max((1 << 40).min(most)));
        check_size(self.size, most)?;
        if asked < self.size {
            return Err(Error::Invalid(format!(
                "a largest size of {asked} bytes is below the size of {}",
                self.size
            )));
        }
        check_size(asked, most)?;
        // At most 2^31 - 1, by `most`.
        Ok(asked.div_ceil(block) as u32)
    }

    /// Returns the limit in bytes, and how much address space it may grow to: enough for the
    /// largest size and the largest limit that the store can be given later.
    pub(crate) fn limits(&self) -> Result<(u64, u64), Error> {
        let least = wide(self.block_size.block_bytes());
        let limit = match self.limit {
            Some(limit) if limit < least || limit > MAX_ARENA_BYTES => {
                return Err(Error::Invalid(format!(
                    "a limit of {limit} bytes: {least} to {MAX_ARENA_BYTES} are allowed"
                )));
            }
            Some(limit) => limit,
            None => self.default_limit(),
        };
        let largest = self.max_size.unwrap_or(self.size);
        let whole = limit.max(largest).saturating_mul(2);
        let whole = self.max_limit.unwrap_or(whole);
        Ok((limit, whole.clamp(limit, MAX_ARENA_BYTES)))
    }

    pub(crate) fn raw_threshold(&self) -> Result<usize, Error> {
        let block = self.block_size.bytes();
        let raw_above = self.raw_above.unwrap_or(block - block / 32);
        if !(8..=block).contains(&raw_above) {
            return Err(Error::Invalid(format!(
                "stored raw above {raw_above} bytes: 8 to {block} are allowed"
            )));
        }
        Ok(raw_above)
    }
}

pub(crate) fn check_size(size: u64, most: u64) -> Result<(), Error> {
    if size == 0 || !size.is_multiple_of(SECTOR) || size > most {
        return Err(Error::Invalid(format!(
            "a size of {size} bytes: a multiple of {SECTOR} from {SECTOR} to {most} is needed"
        )));
    }
    Ok(())
}
