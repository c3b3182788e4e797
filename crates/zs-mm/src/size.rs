//! Frame sizes, and what follows from one.

use core::fmt;

/// Bytes of a pageblock: the unit in which memory is tracked, and best given back.
///
/// 2 MiB, the huge page of x86-64 and of 64-bit Arm with 4 KiB pages. Models shrink it to four
/// small frames.
pub const BLOCK_BYTES: usize = if cfg!(zs_loom) { 16 << 10 } else { 2 << 20 };

/// The largest limit of one arena: 1 TiB at every frame size.
///
/// It bounds the frame and zspage ids, and with them the bits that an object's word has left for
/// its generation (`docs/words.md`).
pub const MAX_ARENA_BYTES: u64 = 1 << 40;

/// The most zones that an arena can have.
pub const MAX_ZONES: usize = 4;

/// The most pools that an arena carries at a time.
pub const MAX_POOLS: usize = POOL_WORDS * 64;
/// 64-bit words of the set of pools.
pub(crate) const POOL_WORDS: usize = if cfg!(zs_loom) { 1 } else { 16 };

const _: () = assert!(
    usize::BITS >= 64,
    "ids and table offsets need 64-bit addresses"
);

/// Returns a length as a number of 64 bits, which every length is (see above).
#[inline]
pub const fn wide(len: usize) -> u64 {
    len as u64
}

/// Returns a number as an index, which has 64 bits (see above).
#[inline]
pub fn as_index(number: impl Into<u64>) -> usize {
    number.into() as usize
}

/// Returns the number of a frame, block or zone of this index: all of them have 32 bits.
#[inline]
pub(crate) fn narrow(index: usize) -> u32 {
    debug_assert!(u32::try_from(index).is_ok(), "an index beyond 32 bits");
    index as u32
}

/// The size of a frame, and so of the largest object: a parameter of the arena, whatever the
/// page size of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PageSize {
    /// 4096 bytes.
    #[default]
    K4,
    /// 16384 bytes.
    K16,
    /// 65536 bytes.
    K64,
}

impl PageSize {
    /// All sizes, smallest first.
    pub const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];

    /// Returns the base-2 logarithm of the size.
    #[inline]
    pub const fn shift(self) -> u32 {
        match self {
            Self::K4 => 12,
            Self::K16 => 14,
            Self::K64 => 16,
        }
    }

    /// Returns the size in bytes.
    #[inline]
    pub const fn bytes(self) -> usize {
        1 << self.shift()
    }

    /// Returns the number of frames in a pageblock.
    #[inline]
    pub const fn frames_per_block(self) -> usize {
        let frames = BLOCK_BYTES >> self.shift();
        if frames == 0 { 1 } else { frames }
    }

    /// Returns the number of bytes of a pageblock of this size; more than [`BLOCK_BYTES`] only
    /// under loom.
    #[inline]
    pub const fn block_bytes(self) -> usize {
        self.frames_per_block() << self.shift()
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}k", self.bytes() >> 10)
    }
}

/// A zone, by its number in the arena. Displayed as `Z<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(pub u32);

impl ZoneId {
    /// Returns the zone of this index: below [`MAX_ZONES`].
    #[inline]
    pub(crate) fn at(index: usize) -> Self {
        Self(narrow(index))
    }

    /// Returns the number as a table index.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Z{}", self.0)
    }
}

/// A frame, by its number in the arena. Displayed as `F<number>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(pub u32);

impl FrameId {
    /// Returns the number as a table index.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the frame of this index: below 2^28 in the largest arena.
    #[inline]
    pub(crate) fn at(index: usize) -> Self {
        Self(narrow(index))
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "F{}", self.0)
    }
}
