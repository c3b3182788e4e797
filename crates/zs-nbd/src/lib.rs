//! A server of the NBD protocol: block devices in user space, for whoever speaks NBD.
//!
//! Data model: `Endpoint -> connection -> Handshake -> Export -> Device`. The server knows nothing
//! of what a [`Device`] does with its bytes; the protocol knows nothing of sockets.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use zs_nbd::{Endpoint, Export, Exports, Limits, MemoryDevice, Server};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = Arc::new(MemoryDevice::new(1 << 30)?);
//! let exports = Exports::new(vec![Export::new("", "a disk of memory", disk)?])?;
//! let socket = Endpoint::unix("/run/user/1000/disk.sock".as_ref())?;
//! let server = Server::start(exports, vec![socket], Limits::default(), Arc::new(|_| ()))?;
//! # let _ = server.stop(std::time::Duration::ZERO);
//! # Ok(()) }
//! ```
//!
//! | module | responsibility |
//! |---|---|
//! | `device` | what a device has to do |
//! | `export` | devices by name |
//! | `memory` | a device of plain memory |
//! | `proto` | the protocol: bytes in, bytes out |
//! | `refusals` | options and requests that were answered with an error, each kind told once |
//! | `session` | one request after the other, against the device |
//! | `batch` | whole requests, cut from what was read, and their replies |
//! | `pieces` | large requests, done in pieces |
//! | `lender` | memory for more threads, by shares |
//! | `service_time` | how fast the device is, and how work is shared out because of that |
//! | `dialogue` | the whole protocol without a socket |
//! | `tls` | certificates on both sides |
//! | `socket` | a socket of either kind, with deadlines |
//! | `channel` | a socket, in clear or encrypted |
//! | `endpoint` | unix sockets and TCP ports to connect to |
//! | `handshake` | the handshake at a socket |
//! | `connection` | one connection and its threads |
//! | `turn` | a value that threads have in turn |
//! | `close_reason` | the reason for which a connection ended |
//! | `peer` | the other side of a connection, and whose it is |
//! | `guest` | who a client is, and what it did |
//! | `rate` | how fast clients are let in |
//! | `places` | who has a place, and who has to make room |
//! | `stop` | the word that the server ends |
//! | `server` | accepting, limits, the end |
//!
//! # Locking
//!
//! Locks are those of `connection`, `channel`, `pieces`, `lender`, `refusals` and `server`,
//! described there; those of the last four are held for a look. A device is called with `inbox`
//! held at most, and, in the middle of a reply that must stay in one piece, the channel's
//! `outward`.

#![forbid(unsafe_code)]

// Before the modules whose tests use it.
#[cfg(test)]
#[macro_use]
#[path = "../tests/client/quiet.rs"]
mod quiet;

mod batch;
mod channel;
mod close_reason;
mod connection;
mod device;
mod dialogue;
mod endpoint;
mod export;
mod guest;
mod handshake;
mod lender;
mod memory;
mod peer;
mod pieces;
mod places;
mod proto;
mod rate;
mod refusals;
mod server;
mod service_time;
mod session;
mod socket;
mod stop;
mod tls;
mod turn;

pub use close_reason::CloseReason;
pub use device::{BlockSizes, Content, Context, Device, Errno, Extent, Extents, Space};
pub use dialogue::{Dialogue, Progress};
pub use endpoint::{Endpoint, EndpointError, PrivateListener};
pub use export::{Export, Exports, InvalidExport};
pub use guest::ClientInfo;
pub use memory::MemoryDevice;
pub use peer::Origin;
pub use proto::Violation;
pub use refusals::Declined;
pub use server::{Clients, Event, Limits, Observer, Server, Stopped};
pub use tls::{Tls, TlsError};
