//! Names, levels and worst cases of the algorithms.

use std::{fmt, str::FromStr};

use crate::{lz4, zstd};

/// A compression algorithm and its level.
///
/// Written and parsed as `lz4`, `zstd` (level 1), `zstd:LEVEL`, `none`; what [`Display`](fmt::Display) writes parses
/// to the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// LZ4 block format, liblz4's default speed.
    Lz4,
    /// One zstd frame without magic number, content size and checksum.
    Zstd(ZstdLevel),
    /// A copy.
    None,
}

impl Algorithm {
    /// The length in bytes of a buffer into which every page of `len` bytes compresses.
    #[must_use]
    pub fn max_compressed_len(self, len: usize) -> usize {
        match self {
            Self::Lz4 => lz4::max_compressed_len(len),
            Self::Zstd(_) => zstd::max_compressed_len(len),
            Self::None => len,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd:{}", level.get()),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Algorithm {
    type Err = ParseAlgorithmError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        match (name, level) {
            ("lz4", None) => Ok(Self::Lz4),
            ("none", None) => Ok(Self::None),
            ("zstd", None) => Ok(Self::Zstd(ZstdLevel::default())),
            ("zstd", Some(level)) => level
                .parse()
                .ok()
                .and_then(ZstdLevel::new)
                .map(Self::Zstd)
                .ok_or_else(|| ParseAlgorithmError::ZstdLevel(level.to_owned())),
            ("lz4" | "none", Some(_)) => Err(ParseAlgorithmError::NoLevels(name.to_owned())),
            _ => Err(ParseAlgorithmError::Unknown(name.to_owned())),
        }
    }
}

/// A zstd level: -7 (fastest) to -1, or 1 to 22 (smallest).
///
/// Level 0 is left out: zstd reads it as "your default", so it would name one of the others a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZstdLevel(i32);

impl ZstdLevel {
    /// The fastest level.
    pub const MIN: Self = Self(-7);
    /// The level that compresses most.
    pub const MAX: Self = Self(22);

    /// The level of this number, if there is one.
    #[must_use]
    pub const fn new(level: i32) -> Option<Self> {
        if level == 0 || level < Self::MIN.0 || level > Self::MAX.0 {
            return None;
        }
        Some(Self(level))
    }

    /// The level's number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl Default for ZstdLevel {
    /// Level 1: of the positive levels the fastest, and on pages of 4 KiB nearly as small as level 3.
    fn default() -> Self {
        Self(1)
    }
}

/// Why a string names no [`Algorithm`]; displayed, it says what is allowed instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseAlgorithmError {
    /// No algorithm has this name.
    Unknown(String),
    /// The algorithm of this name has no levels.
    NoLevels(String),
    /// This is not a zstd level.
    ZstdLevel(String),
}

impl fmt::Display for ParseAlgorithmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "unknown algorithm {name:?}: expected lz4, zstd, zstd:LEVEL or none"
            ),
            Self::NoLevels(name) => write!(f, "{name} has no levels: expected plain {name}"),
            Self::ZstdLevel(level) => write!(
                f,
                "no zstd level {level:?}: expected a number from {} to -1 or from 1 to {}",
                ZstdLevel::MIN.get(),
                ZstdLevel::MAX.get()
            ),
        }
    }
}

impl std::error::Error for ParseAlgorithmError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_round_trips() {
        let levels = (i32::from(i8::MIN)..=i32::from(i8::MAX)).filter_map(ZstdLevel::new);
        let zstd: Vec<_> = levels.map(Algorithm::Zstd).collect();
        assert_eq!(zstd.len(), 29);
        for algorithm in [Algorithm::Lz4, Algorithm::None].into_iter().chain(zstd) {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
    }

    #[test]
    fn plain_zstd_is_level_one() {
        assert_eq!("zstd".parse::<Algorithm>().unwrap().to_string(), "zstd:1");
    }

    #[test]
    fn refusals_name_the_fault_and_what_is_allowed() {
        let refusal = |text: &str| text.parse::<Algorithm>().unwrap_err().to_string();
        for text in ["", "LZ4", " lz4", "lzo", "zstd3", ":"] {
            assert!(refusal(text).starts_with("unknown algorithm"), "{text}");
            assert!(refusal(text).ends_with("expected lz4, zstd, zstd:LEVEL or none"));
        }
        for level in ["", "0", "-8", "23", "3 ", "x", "99999999999", "3:3"] {
            let text = refusal(&format!("zstd:{level}"));
            assert!(
                text.starts_with(&format!("no zstd level {level:?}")),
                "{text}"
            );
            assert!(text.ends_with("from -7 to -1 or from 1 to 22"));
        }
        assert_eq!(refusal("lz4:1"), "lz4 has no levels: expected plain lz4");
        assert_eq!(refusal("none:"), "none has no levels: expected plain none");
    }
}
