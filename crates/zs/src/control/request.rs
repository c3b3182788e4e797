//! What a server is told or asked: the verbs of `zs ctl`, and the lines that it sends.

use super::Whom;
use crate::units::parse_size;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr;

/// Which blocks are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Blocks {
    /// All that are in memory
    #[default]
    All,
    /// Not accessed since they were marked idle
    Idle,
    /// Stored uncompressed
    Huge,
    /// Both
    HugeIdle,
    /// Which no secondary algorithm made smaller
    Incompressible,
}

/// How blocks are written back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// As they are stored
    #[default]
    Compressed,
    /// As they were written
    Raw,
}

/// Bytes of a disk, as in 0-64M: the last one is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-');
        let (start, end) = parts.ok_or("expected two offsets, as in 64M-128M")?;
        let (start, end) = (parse_size(start)?, parse_size(end)?);
        if start >= end {
            return Err("expected two offsets, the smaller one first".to_owned());
        }
        Ok(Self { start, end })
    }
}

/// The most of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// As much as there is.
    None,
    Bytes(u64),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let size = parse_size(text).map(Self::Bytes);
        size.map_err(|error| format!("{error}, or none"))
    }
}

/// What a server is told or asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// What is stored, and what that takes
    Stat,
    /// Give back memory that nobody needs
    Trim,
    /// Move objects together, then trim
    Compact,
    /// Mark blocks as idle: all, or those not accessed for a time
    Idle {
        /// Only blocks not accessed for so many seconds; the server needs --track-access
        #[arg(long, value_name = "SECONDS")]
        age: Option<u64>,
    },
    /// Add a secondary algorithm to recompress with
    Secondary {
        /// As in zstd:9
        algorithm: String,
        /// Of zstd: a dictionary, in a file below the server's --allow-dir
        #[arg(long, value_name = "PATH")]
        dictionary: Option<PathBuf>,
    },
    /// Learn a zstd dictionary from blocks of the disk
    Train {
        /// The file that the server makes, below its --allow-dir
        path: PathBuf,
        /// Its length: 256 to 1M; a hundred times as much is read for it
        #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "16K")]
        size: u64,
    },
    /// Compress blocks again by a secondary algorithm
    Recompress {
        /// Which blocks
        #[arg(value_enum, default_value_t)]
        blocks: Blocks,
        /// Only blocks that take at least so many bytes
        #[arg(long, value_name = "BYTES", value_parser = parse_size)]
        threshold: Option<u64>,
        /// At most so many blocks, the largest first
        #[arg(long, value_name = "N")]
        max: Option<u64>,
        /// One of the secondary algorithms [default: the first]
        #[arg(long, value_name = "ALGORITHM", conflicts_with = "priority")]
        algorithm: Option<String>,
        /// The same by its number, 1 to 3
        #[arg(long, value_name = "N")]
        priority: Option<u8>,
    },
    /// Write blocks to the backing, and give up their memory
    Writeback {
        /// Which blocks
        #[arg(value_enum, default_value_t)]
        blocks: Blocks,
        /// Only of this part of the disk, as in 64M-128M
        #[arg(long, value_name = "FROM-TO")]
        range: Option<Span>,
        /// How
        #[arg(long, value_enum, default_value_t)]
        form: Form,
        /// At most so many blocks
        #[arg(long, value_name = "N")]
        max: Option<u64>,
    },
    /// How much may still be written back, or change that
    WritebackLimit {
        /// As in 10G, or none for no bound
        bytes: Option<Bound>,
    },
    /// Change the most memory that the store takes
    Limit {
        /// As in 512M
        #[arg(value_parser = parse_size)]
        bytes: u64,
    },
    /// Make the disk larger; clients learn it when they connect again
    Resize {
        /// As in 16G
        #[arg(value_parser = parse_size)]
        bytes: u64,
    },
    /// Who is connected, since when, and what they did
    Clients,
    /// End connections; what they asked for may still be done
    Disconnect {
        /// A number that `clients` prints, or all
        #[arg(value_name = "ID|all")]
        whom: Whom,
    },
    /// Forget everything; no client may be connected
    Reset,
    /// Statistics for Prometheus, as OpenMetrics
    Metrics,
    /// Write everything to a file that the server makes or replaces
    Snapshot {
        /// A path below the server's --allow-dir
        path: PathBuf,
    },
    /// Replace everything by a snapshot; no client may be connected
    Load {
        /// A path below the server's --allow-dir
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_bounds_are_read() {
        let span = Span {
            start: 1 << 20,
            end: 1 << 30,
        };
        assert_eq!("1M-1G".parse(), Ok(span));
        for text in ["", "1M", "-", "2M-1M", "0-0", "a-b", "1-2-3"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!("none".parse(), Ok(Bound::None));
        assert_eq!("1K".parse(), Ok(Bound::Bytes(1024)));
        assert!("all".parse::<Bound>().unwrap_err().ends_with("or none"));
        assert_eq!("all".parse(), Ok(Whom::All));
        assert_eq!("7".parse(), Ok(Whom::Id(7)));
        for text in ["", "0", "-1", "ALL", "1,2"] {
            assert!(text.parse::<Whom>().is_err(), "{text}");
        }
    }
}
