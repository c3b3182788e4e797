//! What can go wrong with frames.

use crate::frame_status::FrameStatus;
use crate::size::{BLOCK_BYTES, FrameId, MAX_ARENA_BYTES, MAX_POOLS, MAX_ZONES, ZoneId};
use crate::zone_spec::{ZoneRefusal, ZoneSpec};
use core::fmt;

/// Why an arena could not be made, or a frame not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The options contradict what an arena can be.
    Invalid(InvalidArena),
    /// The limit is reached, or the backing refused memory; nothing has changed.
    NoMemory,
    /// The arena has [`MAX_POOLS`] pools already.
    TooManyPools,
    /// A limit of `asked` bytes was to be set, but `held` bytes cannot be given back now.
    LimitBelowHeld {
        /// Bytes that were held when the last cached frame had been given back.
        held: u64,
        /// The limit asked for.
        asked: u64,
    },
    /// 2^`order` frames are more than a zone has.
    OrderTooLarge {
        /// The order asked for.
        order: u32,
        /// The largest that fits.
        most: u32,
    },
    /// So many frames from this one on do not lie in one zone, or are none.
    InvalidRange {
        /// The first frame of the range.
        first: FrameId,
        /// Its frames.
        frames: u32,
    },
    /// A frame could not be had, and why: try again later if it is busy.
    InTheWay {
        /// The frame.
        frame: FrameId,
        /// The state that it was found in.
        status: FrameStatus,
    },
    /// This process is a forked child of the one that made the arena: it may look at the payload,
    /// if the backing allows that much, and nothing else.
    Forked,
    /// Something would have to be moved, and moves are paused: see
    /// [`pause_moves`](crate::Arena::pause_moves).
    MovesPaused,
    /// The arena has no such zone.
    NoSuchZone(ZoneId),
    /// The zone is offline: nothing is to be had there.
    ZoneOffline(ZoneId),
    /// Somebody is just taking the zone offline.
    ZoneLeaving(ZoneId),
    /// The system did not take memory back that was to go: try again.
    NotGivenBack,
}

/// A fault in the options of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidArena {
    /// The limit, in bytes, is below one pageblock.
    LimitTooSmall(u64),
    /// The limit, in bytes, is above [`MAX_ARENA_BYTES`].
    LimitTooLarge(u64),
    /// A limit above the address space that was reserved for the arena, both in bytes.
    LimitAboveReserve {
        /// The limit asked for.
        limit: u64,
        /// What is reserved: [`ArenaOptions::reserve`](crate::ArenaOptions::reserve).
        reserve: u64,
    },
    /// The address space asked for, in bytes, is above [`MAX_ARENA_BYTES`].
    ReserveTooLarge(u64),
    /// So many zones: there are 1 to [`MAX_ZONES`], and at most one for each pageblock.
    Zones(usize),
    /// The zone of this number has a share of 0.
    ZoneShare(usize),
    /// The backing has no place for a zone.
    Zone {
        /// The zone, counted from 0.
        zone: usize,
        /// What it was to be.
        spec: ZoneSpec,
        /// Why not.
        refusal: ZoneRefusal,
    },
    /// The backing's granule, in bytes, is no power of two or exceeds a pageblock.
    Granule(usize),
}

impl fmt::Display for InvalidArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitTooSmall(limit) => write!(
                f,
                "a limit of {limit} bytes is below one pageblock ({BLOCK_BYTES} bytes)"
            ),
            Self::LimitTooLarge(limit) => write!(
                f,
                "a limit of {limit} bytes is above the largest arena ({MAX_ARENA_BYTES} bytes)"
            ),
            Self::LimitAboveReserve { limit, reserve } => write!(
                f,
                "a limit of {limit} bytes is above the {reserve} bytes that are reserved"
            ),
            Self::ReserveTooLarge(reserve) => write!(
                f,
                "{reserve} bytes to reserve are above the largest arena ({MAX_ARENA_BYTES} bytes)"
            ),
            Self::Zones(zones) => write!(
                f,
                "{zones} zones: allowed are 1 to {MAX_ZONES}, and at most one for each pageblock"
            ),
            Self::ZoneShare(zone) => {
                write!(f, "zone {zone} has a share of 0: it must be at least 1")
            }
            Self::Zone {
                zone,
                spec,
                refusal,
            } => {
                write!(f, "zone {zone} ({}", spec.kind)?;
                if let Some(node) = spec.node {
                    write!(f, ", node {node}")?;
                }
                write!(f, "): {refusal}")
            }
            Self::Granule(granule) => write!(
                f,
                "a granule of {granule} bytes: it must be a power of two up to {BLOCK_BYTES}"
            ),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => write!(f, "invalid arena options: {invalid}"),
            Self::NoMemory => f.write_str(
                "no memory: the arena's limit is reached, or the system refused memory or addresses",
            ),
            Self::TooManyPools => write!(f, "an arena carries at most {MAX_POOLS} pools"),
            Self::LimitBelowHeld { held, asked } => write!(
                f,
                "a limit of {asked} bytes is below the {held} bytes that are in use"
            ),
            Self::OrderTooLarge { order, most } => write!(
                f,
                "2^{order} neighbouring frames: the largest zone has room for 2^{most}"
            ),
            Self::InvalidRange { first, frames } => write!(
                f,
                "{frames} frames from {first} on: at least 1 is needed, and all in one zone"
            ),
            Self::InTheWay { frame, status } => write!(f, "{frame} is in the way: {status}"),
            Self::Forked => f.write_str("the arena is the parent's"),
            Self::MovesPaused => f.write_str("moves are paused"),
            Self::NoSuchZone(zone) => write!(f, "the arena has no zone {zone}"),
            Self::ZoneOffline(zone) => write!(f, "zone {zone} is offline"),
            Self::ZoneLeaving(zone) => write!(f, "zone {zone} is just being taken offline"),
            Self::NotGivenBack => f.write_str("the system did not take memory back, try again"),
        }
    }
}

impl core::error::Error for Error {}
