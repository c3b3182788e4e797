//! What a server tells of.

use crate::close_reason::CloseReason;
use crate::peer::Origin;
use crate::refusals::Declined;
use std::fmt;
use std::io;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A client connected; connections are numbered from 1.
    Opened(u64, Origin),
    /// An option or a request was answered with an error. Of each connection and kind the first one
    /// is told.
    Declined(u64, Declined),
    /// A connection ended.
    Closed(u64, CloseReason),
    /// A client was told that it is not served, and why; its handshake goes on.
    Denied(u64, CloseReason),
    /// A client was turned away: so many connections that were cut off are still with the device.
    TooMany(usize),
    /// A client was turned away, or the system failed to accept one.
    Refused(io::Error),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(number, origin) => write!(f, "connection {number}: opened by {origin}"),
            Self::Declined(number, declined) => write!(f, "connection {number}: {declined}"),
            Self::Closed(number, end) => write!(f, "connection {number}: {end}"),
            Self::Denied(number, why) => write!(f, "connection {number}: not served: {why}"),
            Self::TooMany(left) => write!(
                f,
                "a client was turned away: {left} connections that were cut off are still there"
            ),
            Self::Refused(error) => write!(f, "a client was not let in: {error}"),
        }
    }
}
