//! How a connection ended.

use crate::device::Errno;
use crate::proto::Violation;
use std::fmt;
use std::io;
use std::time::Duration;

/// The reason for which a connection ended.
#[derive(Debug)]
pub enum CloseReason {
    /// The client said goodbye.
    Goodbye,
    /// The client was gone; `cut` if that was in the middle of a request, which then never
    /// happened.
    Gone {
        /// A part of a request had come.
        cut: bool,
    },
    /// The client did what the protocol has no answer to.
    Violation(Violation),
    /// The device did not take the client.
    KeptOut(Errno),
    /// The handshake took too long; or the rest of a request, or taking replies, at TCP.
    Slow(Duration),
    /// It neither sent nor took a byte for too long.
    Idle(Duration),
    /// The client was through with its handshake and found no place: so many are taken.
    TooMany(usize),
    /// Another client needed the place.
    Displaced,
    /// By [`Clients::disconnect`](crate::Clients::disconnect).
    Disconnected,
    /// The device failed in the middle of a reply that has no place for an error.
    Failed(Errno),
    /// There is no memory for the connection's buffers.
    NoMemory,
    /// The socket failed.
    Socket(io::Error),
    /// The device panicked.
    Panicked,
}

impl From<Violation> for CloseReason {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl CloseReason {
    /// Of a socket that failed, maybe because this time was over, or for want of memory.
    pub(crate) fn of(error: io::Error, time: Duration) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Slow(time),
            io::ErrorKind::OutOfMemory => Self::NoMemory,
            _ => Self::Socket(error),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goodbye => write!(f, "the client said goodbye"),
            Self::Gone { cut: false } => write!(f, "the client was gone"),
            Self::Gone { cut: true } => write!(f, "the client was gone in the middle of a request"),
            Self::Violation(violation) => write!(f, "the client broke the protocol: {violation}"),
            Self::KeptOut(errno) => write!(f, "the disk takes no clients now: {errno}"),
            Self::Slow(limit) => write!(f, "the client took more than {limit:?}"),
            Self::Idle(limit) => write!(f, "the client was idle for {limit:?}"),
            Self::TooMany(taken) => write!(f, "all {taken} places are taken: try again later"),
            Self::Displaced => write!(f, "its place was needed for another client"),
            Self::Disconnected => write!(f, "it was disconnected on request"),
            Self::Failed(errno) => write!(f, "the disk failed in the middle of a reply: {errno}"),
            Self::NoMemory => write!(f, "there is no memory for its buffers: try again later"),
            Self::Socket(error) => write!(f, "the socket failed: {error}"),
            Self::Panicked => write!(f, "the disk failed inside"),
        }
    }
}
