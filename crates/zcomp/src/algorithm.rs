//! Names, levels and worst cases of the algorithms.

use std::{fmt, str::FromStr};

use crate::levels::{DeflateLevel, Lz4hcLevel, ZstdLevel};
use crate::{deflate, lz4, zstd};

/// A compression algorithm and its level.
///
/// Written and parsed as `lz4`, `lz4hc` (level 9), `lz4hc:LEVEL`, `zstd` (level 1), `zstd:LEVEL`,
/// `deflate` (level 6), `deflate:LEVEL`, `none`; what [`Display`](fmt::Display) writes parses
/// to the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// LZ4 block format, liblz4's default speed.
    Lz4,
    /// LZ4 block format, by liblz4's slow search.
    Lz4hc(Lz4hcLevel),
    /// One zstd frame without magic number, content size and checksum.
    Zstd(ZstdLevel),
    /// A raw deflate stream (RFC 1951). Bytes that follow it are not noticed.
    Deflate(DeflateLevel),
    /// A copy.
    None,
}

impl Algorithm {
    /// Returns the length in bytes of a buffer into which every page of `len` bytes compresses.
    #[must_use]
    pub fn max_compressed_len(self, len: usize) -> usize {
        match self {
            Self::Lz4 | Self::Lz4hc(_) => lz4::max_compressed_len(len),
            Self::Deflate(_) => deflate::max_compressed_len(len),
            Self::Zstd(_) => zstd::max_compressed_len(len),
            Self::None => len,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lz4 => f.write_str("lz4"),
            Self::Lz4hc(level) => write!(f, "lz4hc:{}", level.get()),
            Self::Zstd(level) => write!(f, "zstd:{}", level.get()),
            Self::Deflate(level) => write!(f, "deflate:{}", level.get()),
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
        match name {
            "lz4" if level.is_none() => Ok(Self::Lz4),
            "none" if level.is_none() => Ok(Self::None),
            "lz4" | "none" => Err(ParseAlgorithmError::NoLevels(name.to_owned())),
            "lz4hc" => parse_level(level, Lz4hcLevel::new)
                .map(Self::Lz4hc)
                .map_err(ParseAlgorithmError::Lz4hcLevel),
            "zstd" => parse_level(level, ZstdLevel::new)
                .map(Self::Zstd)
                .map_err(ParseAlgorithmError::ZstdLevel),
            "deflate" => parse_level(level, DeflateLevel::new)
                .map(Self::Deflate)
                .map_err(ParseAlgorithmError::DeflateLevel),
            _ => Err(ParseAlgorithmError::Unknown(name.to_owned())),
        }
    }
}

/// Returns the level that the text names, or the default without one; an error with the text.
fn parse_level<T: Default>(
    level: Option<&str>,
    new: impl Fn(i32) -> Option<T>,
) -> Result<T, String> {
    let Some(level) = level else {
        return Ok(T::default());
    };
    level
        .parse()
        .ok()
        .and_then(new)
        .ok_or_else(|| level.to_owned())
}

/// Why a string names no [`Algorithm`]; displayed, it says what is allowed instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseAlgorithmError {
    /// No algorithm has this name.
    Unknown(String),
    /// The algorithm of this name has no levels.
    NoLevels(String),
    /// This is not a level of lz4hc.
    Lz4hcLevel(String),
    /// This is not a zstd level.
    ZstdLevel(String),
    /// This is not a deflate level.
    DeflateLevel(String),
}

impl fmt::Display for ParseAlgorithmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "unknown algorithm {name:?}: expected lz4, lz4hc, lz4hc:LEVEL, zstd, zstd:LEVEL, deflate, deflate:LEVEL or none"
            ),
            Self::NoLevels(name) => write!(f, "{name} has no levels: expected plain {name}"),
            Self::Lz4hcLevel(level) => write!(
                f,
                "no lz4hc level {level:?}: expected a number from {} to {}",
                Lz4hcLevel::MIN.get(),
                Lz4hcLevel::MAX.get()
            ),
            Self::DeflateLevel(level) => write!(
                f,
                "no deflate level {level:?}: expected a number from {} to {}",
                DeflateLevel::MIN.get(),
                DeflateLevel::MAX.get()
            ),
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
        let levels = || i32::from(i8::MIN)..=i32::from(i8::MAX);
        let slow = levels().filter_map(Lz4hcLevel::new).map(Algorithm::Lz4hc);
        let deflate = levels().filter_map(DeflateLevel::new);
        let others = slow.chain(deflate.map(Algorithm::Deflate)).chain(zstd);
        for algorithm in [Algorithm::Lz4, Algorithm::None].into_iter().chain(others) {
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
            assert!(refusal(text).ends_with("zstd:LEVEL, deflate, deflate:LEVEL or none"));
        }
        for level in ["", "0", "-8", "23", "3 ", "x", "99999999999", "3:3"] {
            let text = refusal(&format!("zstd:{level}"));
            assert!(
                text.starts_with(&format!("no zstd level {level:?}")),
                "{text}"
            );
            assert!(text.ends_with("from -7 to -1 or from 1 to 22"));
        }
        for level in ["2", "13", "", "x"] {
            assert!(refusal(&format!("lz4hc:{level}")).ends_with("from 3 to 12"));
        }
        assert!(refusal("deflate:0").ends_with("from 1 to 12"));
        assert_eq!(refusal("lz4:1"), "lz4 has no levels: expected plain lz4");
        assert_eq!(refusal("none:"), "none has no levels: expected plain none");
    }
}
