//! What a client wishes, and what is agreed upon with it.

use super::super::Mode;
use crate::device::Context;
use crate::export::Export;

/// The encryption of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// It is not, and cannot be.
    Clear,
    /// It has to be first (`FORCEDTLS`).
    Wanted,
    /// It is.
    Encrypted,
}

/// The result of a handshake.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    pub(crate) export: Export,
    pub(crate) mode: Mode,
    /// The contexts of which block status tells.
    pub(crate) contexts: Vec<Context>,
}

/// A client that wants to begin, and has not been told whether it may.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) agreement: Agreement,
    pub(super) told: Told,
}

/// The way in which a wish is granted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// By the answer to `NBD_OPT_EXPORT_NAME`, which knows no refusal.
    Old,
    /// By that to `NBD_OPT_GO`.
    Go(Asked),
}

/// The facts of an export that a client asks for, beyond those that it is told in any case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) name: bool,
    pub(super) description: bool,
    pub(super) sizes: bool,
}

/// The step after some input.
#[derive(Debug)]
pub(crate) enum Step {
    /// More input is wanted.
    More,
    /// The output is to be sent; the input has not been looked at to its end.
    Send,
    /// TLS begins, once the output is sent; then
    /// [`Handshake::encrypted`](super::Handshake::encrypted).
    StartTls,
    /// Requests begin if the wish is granted; if it is denied, the handshake goes on.
    Begin(Wish),
    /// The client wants to end.
    End,
}
