//! What an arena is to be.

use crate::error::InvalidArena;
use crate::size::{BLOCK_BYTES, MAX_ARENA_BYTES, MAX_ZONES, PageSize, wide};
use crate::zone_spec::ZoneSpecs;

/// The options of an arena. Start from [`ArenaOptions::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaOptions {
    /// The size of a frame, and of the largest object. Default: 4 KiB.
    pub page_size: PageSize,
    /// The most bytes that may be held, frames and metadata together: one pageblock (2 MiB) to
    /// 1 TiB. A hard limit, up to what the backing itself keeps beside them. It can be changed
    /// later: see [`set_limit`](crate::Arena::set_limit).
    pub limit: u64,
    /// Bytes of address space for frames, from `limit` to 1 TiB: the largest limit that can ever
    /// be set. Takes no memory, but ids, and with them the tables of pools, are as large as it
    /// asks. Default: as much as `limit`.
    pub reserve: Option<u64>,
    /// Zones, each with a share of the pageblocks and a lock of its own. Filled in order: a frame
    /// of a zone is handed out when those before it are full, or cannot grow. Default: one, of
    /// what the backing makes by itself.
    pub zones: ZoneSpecs,
    /// Free memory that nobody needed for so long, in nanoseconds, goes back to the system, at the
    /// next call that takes frames from a zone or puts them back, or calls
    /// [`decay`](crate::Arena::decay). Default: 1 s.
    pub decay_ns: u64,
    /// Ask for a huge page under every pageblock whose frames are all handed out (in use, or in
    /// the cache of a CPU). Default: no.
    pub huge_blocks: bool,
}

impl ArenaOptions {
    /// Makes an arena of 4 KiB frames that holds at most `limit` bytes.
    pub const fn new(limit: u64) -> Self {
        Self {
            page_size: PageSize::K4,
            limit,
            reserve: None,
            zones: ZoneSpecs::normal(1),
            decay_ns: 1_000_000_000,
            huge_blocks: false,
        }
    }

    /// Returns the largest limit that can be set.
    pub(crate) fn capacity(&self) -> u64 {
        self.reserve.unwrap_or(self.limit)
    }

    /// Checks a limit that is to be set.
    pub(crate) fn check_limit(&self, limit: u64) -> Result<(), InvalidArena> {
        if limit < wide(self.page_size.block_bytes()) {
            return Err(InvalidArena::LimitTooSmall(limit));
        }
        if limit > MAX_ARENA_BYTES {
            return Err(InvalidArena::LimitTooLarge(limit));
        }
        let reserve = self.capacity();
        if limit > reserve {
            return Err(InvalidArena::LimitAboveReserve { limit, reserve });
        }
        Ok(())
    }

    pub(crate) fn check(&self, granule: usize) -> Result<(), InvalidArena> {
        self.check_limit(self.limit)?;
        if self.capacity() > MAX_ARENA_BYTES {
            return Err(InvalidArena::ReserveTooLarge(self.capacity()));
        }
        let blocks = self.capacity().div_ceil(wide(self.page_size.block_bytes()));
        let zones = self.zones.count();
        if zones == 0 || zones > MAX_ZONES || wide(zones) > blocks {
            return Err(InvalidArena::Zones(zones));
        }
        if let Some(zone) = self.zones.specs().iter().position(|spec| spec.share == 0) {
            return Err(InvalidArena::ZoneShare(zone));
        }
        if !granule.is_power_of_two() || granule > BLOCK_BYTES {
            return Err(InvalidArena::Granule(granule));
        }
        Ok(())
    }
}
