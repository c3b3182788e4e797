//! The wishes of clients, and the agreement with a client.

use super::super::Mode;
use crate::device::Context;
use crate::export::Export;

/// The encryption of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// Not encrypted, and TLS is not available.
    Clear,
    /// TLS must begin before anything else (`FORCEDTLS`).
    Wanted,
    /// Encrypted.
    Encrypted,
}

/// The result of a handshake.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    pub(crate) export: Export,
    pub(crate) mode: Mode,
    /// The contexts that a block status reply contains.
    pub(crate) contexts: Vec<Context>,
}

/// The wish of a client to begin with requests, not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) agreement: Agreement,
    pub(super) grant: GrantBy,
}

/// The answer by which a wish is granted.
#[derive(Clone, Copy, Debug)]
pub(super) enum GrantBy {
    /// The answer to `NBD_OPT_EXPORT_NAME`, which has no error reply.
    ExportName,
    /// The answer to `NBD_OPT_GO`.
    Go(Asked),
}

/// The optional facts about an export that a client asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) name: bool,
    pub(super) description: bool,
    pub(super) sizes: bool,
}

/// The next step after some input.
#[derive(Debug)]
pub(crate) enum Step {
    /// Read more input.
    More,
    /// Send the output, then go on with the rest of the input.
    Send,
    /// Send the output, begin TLS, then call [`Handshake::encrypted`](super::Handshake::encrypted).
    StartTls,
    /// Grant or deny the wish. After a denial the handshake goes on.
    Begin(Wish),
    /// The client ends the handshake.
    End,
}
