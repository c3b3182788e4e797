//! The reason why a connection ended.

use crate::device::Errno;
use crate::proto::Violation;
use std::fmt;
use std::io;
use std::time::Duration;

/// The reason why a connection ended, or why a client was not served.
#[derive(Debug)]
pub enum CloseReason {
    /// The client said goodbye.
    Goodbye,
    /// The client closed the connection without a goodbye.
    Gone {
        /// The last request was cut off, and was not executed.
        cut: bool,
    },
    /// The client broke the protocol in a way that cannot be answered.
    Violation(Violation),
    /// The device refused the client.
    KeptOut(Errno),
    /// The handshake took longer than this; or, at TCP, the rest of a request or receiving replies
    /// did.
    Slow(Duration),
    /// The client neither sent nor received a byte for this time.
    Idle(Duration),
    /// All places were taken when the handshake ended. Holds their number.
    TooMany(usize),
    /// Another client needed its place.
    Displaced,
    /// [`Clients::disconnect`](crate::Clients::disconnect) ended it.
    Disconnected,
    /// The device failed in the middle of a reply, where an error cannot be sent any more.
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
    /// Makes the reason of a failed call on a socket. `time` is the limit that a timeout exceeded.
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
