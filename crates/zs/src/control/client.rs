//! What there is to know of a client: asked by `zs ctl clients`.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A client that is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientStat {
    pub(crate) id: u64,
    /// At a unix socket: the user and the process that connected.
    pub(crate) user: Option<u32>,
    pub(crate) process: Option<u32>,
    /// At TCP: address and port.
    pub(crate) address: Option<String>,
    /// None before the end of its handshake.
    pub(crate) export: Option<String>,
    pub(crate) connected_seconds: u64,
    /// Since it sent or took a byte.
    pub(crate) idle_seconds: u64,
    pub(crate) requests: u64,
    /// Read and written.
    pub(crate) bytes: u64,
}

/// Which clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Whom {
    All,
    Id(u64),
}

impl FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(id) if id > 0 => Ok(Self::Id(id)),
            _ if text == "all" => Ok(Self::All),
            _ => Err("expected a number as zs ctl clients prints it, or all".to_owned()),
        }
    }
}
