//! The calls to a backing that tests see.

use zs_mm::{Advice, RegionKind, ZoneKind};

/// A kind of call that can be counted and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Backing::reserve`](zs_mm::Backing::reserve).
    Reserve = 0,
    /// [`Backing::commit`](zs_mm::Backing::commit).
    Commit = 1,
    /// [`Backing::decommit`](zs_mm::Backing::decommit).
    Decommit = 2,
    /// [`Backing::place_zone`](zs_mm::Backing::place_zone).
    PlaceZone = 3,
}

impl Call {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Reserve, Self::Commit, Self::Decommit, Self::PlaceZone];
}

/// One call to a [`WatchedBacking`](super::WatchedBacking), with its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// A reservation that succeeded.
    Reserve {
        /// The use of the region.
        kind: RegionKind,
        /// Its address.
        place: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A zone that was made.
    PlaceZone {
        /// Its address.
        place: usize,
        /// Its length in bytes.
        len: usize,
        /// The kind of memory that was asked for.
        kind: ZoneKind,
        /// The node that was asked for.
        node: Option<u32>,
    },
    /// A region was taken back.
    Release {
        /// The use of the region.
        kind: RegionKind,
        /// Its address.
        place: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A commit that succeeded.
    Commit {
        /// The use of the region.
        kind: RegionKind,
        /// The address of the range.
        place: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A decommit that succeeded.
    Decommit {
        /// The use of the region.
        kind: RegionKind,
        /// The address of the range.
        place: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// An advice.
    Advise {
        /// The address of the pageblock.
        place: usize,
        /// Its length in bytes.
        len: usize,
        /// The advice.
        advice: Advice,
    },
}
