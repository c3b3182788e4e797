//! What a server is told or asked: the verbs of `zs ctl`, and the lines that it sends.

use super::Whom;
use crate::args::number_in;
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
    /// Both huge and idle
    HugeIdle,
    /// Not made smaller by any secondary algorithm; for writeback only
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
    /// Show the contents, and the memory that they take
    Stat,
    /// Give free memory back to the system
    Trim,
    /// Move stored blocks together, then trim
    Compact,
    /// Mark blocks as idle, until their next access: all, or those not accessed for a time
    Idle {
        /// Only blocks not accessed for so many seconds; the server needs --track-access
        #[arg(long, value_name = "SECONDS", value_parser = number_in(0..=u64::MAX))]
        age: Option<u64>,
    },
    /// Add a secondary algorithm to recompress with
    Secondary {
        /// Name and level, as in zstd:9
        algorithm: String,
        /// For zstd: a file with a dictionary, below the server's --allow-dir
        #[arg(long, value_name = "PATH")]
        dictionary: Option<PathBuf>,
    },
    /// Learn a zstd dictionary from blocks of the disk
    Train {
        /// File for the dictionary, which the server makes below its --allow-dir
        path: PathBuf,
        /// Length of the dictionary, 256 to 1M; a hundred times as many bytes of the disk are read
        #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "16K")]
        size: u64,
    },
    /// Compress blocks again by a secondary algorithm
    Recompress {
        /// Blocks to compress again
        #[arg(value_enum, default_value_t)]
        blocks: Blocks,
        /// Only blocks that take at least so many bytes
        #[arg(long, value_name = "BYTES", value_parser = parse_size)]
        threshold: Option<u64>,
        /// At most so many blocks, the largest first
        #[arg(long, value_name = "N", value_parser = number_in(0..=u64::MAX))]
        max: Option<u64>,
        /// One of the secondary algorithms [default: the first]
        #[arg(long, value_name = "ALGORITHM", conflicts_with = "priority")]
        algorithm: Option<String>,
        /// Instead of --algorithm: its number, 1 to 3
        #[arg(long, value_name = "N")]
        priority: Option<u8>,
    },
    /// Write blocks to the backing, and give up their memory
    Writeback {
        /// Blocks to write
        #[arg(value_enum, default_value_t)]
        blocks: Blocks,
        /// Only blocks in this part of the disk, as in 64M-128M
        #[arg(long, value_name = "FROM-TO")]
        range: Option<Span>,
        /// Form of the blocks in the backing
        #[arg(long, value_enum, default_value_t)]
        form: Form,
        /// At most so many blocks
        #[arg(long, value_name = "N", value_parser = number_in(0..=u64::MAX))]
        max: Option<u64>,
    },
    /// Show or change the number of bytes that may still be written back
    WritebackLimit {
        /// New number of bytes, as in 10G, or none for no bound
        bytes: Option<Bound>,
    },
    /// Change the memory limit of the disk
    Limit {
        /// New limit, as in 512M, not below the memory in use
        #[arg(value_parser = parse_size)]
        bytes: u64,
    },
    /// Make the disk larger; clients learn it when they connect again
    Resize {
        /// New size, as in 16G: a multiple of 512, up to the server's --max-size
        #[arg(value_parser = parse_size)]
        bytes: u64,
    },
    /// Show the connected clients: origin, disk, times, requests, bytes
    Clients,
    /// End connections; requests that have arrived may still be done
    Disconnect {
        /// Number of a client, as `zs ctl clients` prints it, or all
        #[arg(value_name = "ID|all")]
        whom: Whom,
    },
    /// Empty the disk; no client may be connected
    Reset,
    /// Print statistics for Prometheus (OpenMetrics)
    Metrics,
    /// Write the contents to a file, which the server makes or replaces
    Snapshot {
        /// A path below the server's --allow-dir
        path: PathBuf,
    },
    /// Replace the contents by those of a snapshot; no client may be connected
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
