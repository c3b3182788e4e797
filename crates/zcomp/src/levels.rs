//! The levels of the algorithms that have any.

/// A level of LZ4's slow search: 3 (fastest) to 12 (smallest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lz4hcLevel(i32);

impl Lz4hcLevel {
    /// The fastest level.
    pub const MIN: Self = Self(3);
    /// The level that compresses most.
    pub const MAX: Self = Self(12);

    /// Returns the level of this number, if there is one.
    #[must_use]
    pub const fn new(level: i32) -> Option<Self> {
        if level < Self::MIN.0 || level > Self::MAX.0 {
            return None;
        }
        Some(Self(level))
    }

    /// Returns the level's number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl Default for Lz4hcLevel {
    /// Level 9, liblz4's own.
    fn default() -> Self {
        Self(9)
    }
}

/// A deflate level: 1 (fastest) to 12 (smallest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeflateLevel(i32);

impl DeflateLevel {
    /// The fastest level.
    pub const MIN: Self = Self(1);
    /// The level that compresses most.
    pub const MAX: Self = Self(12);

    /// Returns the level of this number, if there is one.
    #[must_use]
    pub const fn new(level: i32) -> Option<Self> {
        if level < Self::MIN.0 || level > Self::MAX.0 {
            return None;
        }
        Some(Self(level))
    }

    /// Returns the level's number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl Default for DeflateLevel {
    /// Level 6, libdeflate's own.
    fn default() -> Self {
        Self(6)
    }
}

/// A zstd level: -7 (fastest) to -1, or 1 to 22 (smallest).
///
/// Level 0 is left out: zstd reads it as "your default", so it would name one of the others a
/// second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZstdLevel(i32);

impl ZstdLevel {
    /// The fastest level.
    pub const MIN: Self = Self(-7);
    /// The level that compresses most.
    pub const MAX: Self = Self(22);

    /// Returns the level of this number, if there is one.
    #[must_use]
    pub const fn new(level: i32) -> Option<Self> {
        if level == 0 || level < Self::MIN.0 || level > Self::MAX.0 {
            return None;
        }
        Some(Self(level))
    }

    /// Returns the level's number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl Default for ZstdLevel {
    /// Level 1: of the positive levels the fastest, and on pages of 4 KiB nearly as small as level
    /// 3.
    fn default() -> Self {
        Self(1)
    }
}
