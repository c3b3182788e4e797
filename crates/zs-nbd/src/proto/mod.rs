//! The protocol, without a socket: bytes in, bytes out. The facts are those of the NBD project's
//! `doc/proto.md` (public domain).
//!
//! Data model: `bytes -> Handshake -> Agreement`, then `bytes -> Head + payload -> Replies ->
//! bytes`.
//!
//! | module | responsibility |
//! |---|---|
//! | `handshake` | the fixed newstyle handshake: options, until the client chooses an export |
//! | `answer` | answers to options |
//! | `option` | the data of options |
//! | `request` | the heads of requests |
//! | `reply` | simple, structured and extended replies |
//! | `wire` | big-endian numbers |

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
    /// Simple replies: the client asked for no others.
    Simple,
    /// `NBD_OPT_STRUCTURED_REPLY`.
    Structured,
    /// `NBD_OPT_EXTENDED_HEADERS`: lengths of 64 bits.
    Extended,
}

/// A breach of the protocol that cannot be answered: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Handshake flags that the server did not offer.
    #[error("client flags {0:#x}; there are 1 (fixed newstyle) and 2 (no zeroes)")]
    ClientFlags(u32),
    /// An option does not begin with the magic number of options.
    #[error("an option began with {0:#018x}, not with IHAVEOPT")]
    OptionMagic(u64),
    /// An option has too much data.
    #[error("option {option} with {len} bytes of data; the most is {most}")]
    OptionLength {
        /// The option.
        option: u32,
        /// Bytes announced.
        len: u32,
        /// Bytes allowed.
        most: u32,
    },
    /// `NBD_OPT_EXPORT_NAME`, which has no error reply, for an export that it cannot open.
    #[error("NBD_OPT_EXPORT_NAME for an export that is not to be had that way")]
    NoSuchExport,
    /// Unencrypted bytes after STARTTLS.
    #[error("bytes in clear behind STARTTLS")]
    BehindStartTls,
    /// A request does not begin with the magic number of requests.
    #[error("a request began with {0:#010x}")]
    RequestMagic(u32),
    /// A request has more payload than allowed.
    #[error("a request with {len} bytes of payload; the most is {most}")]
    Payload {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        most: u64,
    },
}
