//! What `zs ctl` and `zs serve` say to each other: a JSON object a line, over a unix socket beside
//! that of NBD.
//!
//! `{"export":"a","request":{"command":"limit","bytes":1048576}}` is answered by `{"ok":...}` or
//! `{"error":"..."}`; the export may be left out where there is one, and where all are meant. While
//! a request is worked on, the server says so twice a second, by lines `"working"` in front of the
//! answer.
//!
//! | module | responsibility |
//! |---|---|
//! | `request` | what a server is told or asked |
//! | `stat` | what there is to know of a disk |
//! | `client` | what there is to know of a client |

mod client;
mod request;
mod stat;

pub(crate) use client::{ClientStat, Whom};
pub(crate) use request::{Blocks, Bound, Form, Request};
pub(crate) use stat::{AlgorithmBlocks, Buckets, Operations, Stat};

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

/// Longest request, in bytes: paths are the longest part.
pub(crate) const MAX_REQUEST: u64 = 64 << 10;

/// Longest answer, in bytes: the metrics of many disks.
pub(crate) const MAX_ANSWER: u64 = 64 << 20;

/// A request, and of which export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) export: Option<String>,
    pub(crate) request: Request,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It is done; this is what there is to know.
    Ok(serde_json::Value),
    /// It is not, and why.
    Error(String),
    /// It is being done; another line follows.
    Working,
}

/// Returns where the control socket of a server is whose socket is at `path`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".ctl");
    name.into()
}

/// Returns the next line without its end; `None` when there is no more.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if it is longer than `most`; or the socket's.
pub(crate) fn line(reader: &mut impl BufRead, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(most).read_until(b'\n', &mut line)?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Some(line));
    }
    if line.len() as u64 == most {
        let text = format!("a line of more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_of_json() {
        let limit = Order {
            export: None,
            request: Request::Limit { bytes: 5 },
        };
        let text = serde_json::to_string(&limit).unwrap();
        assert_eq!(text, r#"{"request":{"command":"limit","bytes":5}}"#);
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), limit);
        for text in [
            r#"{"request":{"command":"explode"}}"#,
            r#"{"request":{"command":"limit"}}"#,
            r#"{"request":{"command":"limit","bytes":-1}}"#,
            r#"{"request":{"command":"limit","bytes":1,"more":2}}"#,
            r#"{"request":{"command":"trim"},"more":2}"#,
            r#"{"export":"a"}"#,
        ] {
            assert!(serde_json::from_str::<Order>(text).is_err(), "{text}");
        }
    }
}
