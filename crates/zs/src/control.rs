//! What `zs ctl` and `zs serve` say to each other: a JSON object a line, over a unix socket beside that of NBD.
//!
//! `{"command":"limit","bytes":1048576}` is answered by `{"ok":...}` or `{"error":"..."}`.

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::units::parse_size;

/// Longest line, in bytes: metrics are the longest.
const MAX_LINE: u64 = 1 << 20;

/// Which blocks are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Blocks {
    /// Not accessed since they were marked idle
    Idle,
    /// Stored uncompressed
    Huge,
    /// Both
    HugeIdle,
}

/// What a store is told or asked.
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
        /// Only blocks not accessed for so many seconds
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
    },
    /// Compress blocks again by a secondary algorithm
    Recompress {
        /// Which blocks
        #[arg(value_enum)]
        blocks: Blocks,
        /// Only blocks that take at least so many bytes
        #[arg(long, value_name = "BYTES")]
        threshold: Option<u32>,
        /// At most so many blocks
        #[arg(long, value_name = "N")]
        most: Option<u64>,
    },
    /// Write blocks to the backing file
    Writeback {
        /// Which blocks
        #[arg(value_enum)]
        blocks: Blocks,
    },
    /// Change the most memory that the store takes
    Limit {
        /// As in 512M
        #[arg(value_parser = parse_size)]
        bytes: u64,
    },
    /// Change the size of the disk, which clients learn when they connect again
    Resize {
        /// As in 16G
        #[arg(value_parser = parse_size)]
        bytes: u64,
    },
    /// Forget everything; no client may be connected
    Reset,
    /// Statistics in Prometheus' text format
    Metrics,
    /// Write everything to a file that the server makes
    Snapshot {
        /// An absolute path below the server's --allow-dir
        path: PathBuf,
    },
    /// Replace everything by a snapshot; no client may be connected
    Load {
        /// An absolute path below the server's --allow-dir
        path: PathBuf,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It is done; this is what there is to know.
    Ok(serde_json::Value),
    /// It is not, and why.
    Error(String),
}

/// Where the control socket of a server is whose socket is at `path`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".ctl");
    name.into()
}

/// The next line without its end; `None` when there is no more.
pub(crate) fn line(reader: &mut BufReader<&UnixStream>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Some(line));
    }
    if line.len() as u64 == MAX_LINE {
        let text = format!("a line of more than {MAX_LINE} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_of_json() {
        let limit = Request::Limit { bytes: 5 };
        let text = serde_json::to_string(&limit).unwrap();
        assert_eq!(text, r#"{"command":"limit","bytes":5}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), limit);
        for text in [
            r#"{"command":"explode"}"#,
            r#"{"command":"limit"}"#,
            r#"{"command":"limit","bytes":-1}"#,
            r#"{"command":"limit","bytes":1,"more":2}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
