//! The protocol, without a socket: bytes in, bytes out. Facts from the NBD project's `doc/proto.md`
//! (public domain).
//!
//! Data model: `bytes -> Handshake -> Agreement`, then `bytes -> Head + payload -> Replies ->
//! bytes`.
//!
//! | module | responsibility |
//! |---|---|
//! | `handshake` | fixed newstyle: options until a client and an export have come together |
//! | `answer` | answers to options |
//! | `option` | what is in the data of an option |
//! | `request` | the heads of requests |
//! | `reply` | simple, structured and extended replies |
//! | `wire` | numbers, big-endian |

mod answer;
mod handshake;
mod option;
mod reply;
mod request;
mod wire;

pub(crate) use handshake::{Agreement, Handshake, Security, Step, Wish};
pub(crate) use reply::Replies;
pub(crate) use request::{Command, Head, flag};

/// The format of a connection's requests and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Neither side asked for more.
    Simple,
    /// `NBD_OPT_STRUCTURED_REPLY`.
    Structured,
    /// `NBD_OPT_EXTENDED_HEADERS`: lengths of 64 bits.
    Extended,
}

/// A breach of the protocol to which it has no answer: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Flags of the handshake that nobody offered.
    #[error("client flags {0:#x}; there are 1 (fixed newstyle) and 2 (no zeroes)")]
    ClientFlags(u32),
    /// An option does not begin as one.
    #[error("an option began with {0:#018x}, not with IHAVEOPT")]
    OptionMagic(u64),
    /// An option with too much data.
    #[error("option {option} with {len} bytes of data; the most is {most}")]
    OptionLength {
        /// The option.
        option: u32,
        /// Bytes announced.
        len: u32,
        /// Bytes allowed.
        most: u32,
    },
    /// An export asked for in the way that knows no errors.
    #[error("NBD_OPT_EXPORT_NAME for an export that is not to be had that way")]
    NoSuchExport,
    /// Bytes behind STARTTLS that are not encrypted.
    #[error("bytes in clear behind STARTTLS")]
    BehindStartTls,
    /// A request does not begin as one.
    #[error("a request began with {0:#010x}")]
    RequestMagic(u32),
    /// More payload than is taken.
    #[error("a request with {len} bytes of payload; the most is {most}")]
    Payload {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        most: u64,
    },
}
