//! How a connection ended.

use crate::device::Errno;
use crate::proto::Violation;
use std::fmt;
use std::io;
use std::time::Duration;

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client said goodbye.
    Goodbye,
    /// The client was gone; `cut` if that was in the middle of a request, which then never happened.
    Gone {
        /// Whether a part of a request had come.
        cut: bool,
    },
    /// The client did what the protocol has no answer to.
    Violation(Violation),
    /// The device did not take the client.
    KeptOut(Errno),
    /// The handshake, the rest of a request, or taking replies took too long.
    Slow(Duration),
    /// A TCP client was through with its handshake and found no place: there are too many connections.
    TooMany(usize),
    /// The system had no memory for a large request.
    NoMemory,
    /// The socket failed.
    Socket(io::Error),
    /// The device panicked.
    Panicked,
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl End {
    /// Of a socket that failed, maybe because this time was over.
    pub(crate) fn of(error: io::Error, time: Duration) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Slow(time),
            _ => Self::Socket(error),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goodbye => write!(f, "the client said goodbye"),
            Self::Gone { cut: false } => write!(f, "the client was gone"),
            Self::Gone { cut: true } => write!(f, "the client was gone in the middle of a request"),
            Self::Violation(violation) => write!(f, "the client broke the protocol: {violation}"),
            Self::KeptOut(errno) => write!(f, "the disk takes no clients now: {errno}"),
            Self::Slow(limit) => write!(f, "the client took more than {limit:?}"),
            Self::TooMany(most) => write!(f, "there are {most} connections already"),
            Self::NoMemory => write!(f, "there was no memory for a request"),
            Self::Socket(error) => write!(f, "the socket failed: {error}"),
            Self::Panicked => write!(f, "the disk failed inside"),
        }
    }
}
