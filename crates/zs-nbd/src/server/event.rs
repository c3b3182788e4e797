//! The events of a server.

use crate::close_reason::CloseReason;
use crate::peer::Origin;
use crate::refusals::Declined;
use std::fmt;
use std::io;

/// An event, reported to the [`Observer`](crate::Observer).
#[derive(Debug)]
pub enum Event {
    /// A client connected. Connections are numbered from 1.
    Opened(u64, Origin),
    /// An option or a request was answered with an error. Only the first of each kind is reported
    /// for a connection.
    Declined(u64, Declined),
    /// A connection ended.
    Closed(u64, CloseReason),
    /// A client was told why it is not served. Its handshake goes on.
    Denied(u64, CloseReason),
    /// A client was turned away, because this many connections that were cut off are still inside
    /// the device.
    TooMany(usize),
    /// A connection was refused, or the system failed to accept one.
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
