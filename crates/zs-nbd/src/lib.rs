//! An NBD server: it serves block devices that live in user space to any NBD client.
//!
//! Data model: `Endpoint -> connection -> Handshake -> Export -> Device`. The server does not know
//! how a [`Device`] stores its bytes. The protocol code does not know about sockets.
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
//! | `device` | the trait that a block device implements |
//! | `export` | devices by name |
//! | `memory_device` | a device of plain memory |
//! | `proto` | the protocol: bytes in, bytes out |
//! | `refusals` | errors that a client was answered with, reported once a kind |
//! | `session` | executes one request on the device |
//! | `batch` | whole requests, cut from the bytes that were read, and their replies |
//! | `pieces` | large requests, executed in pieces |
//! | `lender` | memory for more threads, lent by shares |
//! | `lengths` | lengths, between the types of memory and those of the protocol |
//! | `service_time` | the device's time for a request, and the batch size that follows from it |
//! | `dialogue` | the whole protocol without a socket |
//! | `tls` | certificates on both sides |
//! | `socket` | a unix or TCP socket, with deadlines |
//! | `channel` | a socket, in clear or encrypted with TLS |
//! | `endpoint` | unix sockets and TCP ports that listen |
//! | `handshake` | the handshake on a socket, within its time |
//! | `connection` | one connection and its threads |
//! | `turn` | a value that threads own in turn |
//! | `close_reason` | the reason why a connection ended |
//! | `peer` | the origin of a connection, and its owner |
//! | `client` | the facts and counters of one client |
//! | `accept_rate` | the rate at which connections are accepted |
//! | `places` | the limited places for connections, and the choice of a client to displace |
//! | `stop_signal` | the signal that the server ends |
//! | `server` | accepts connections, keeps limits, ends |
//!
//! # Locking
//!
//! The locks belong to `connection`, `channel`, `pieces`, `lender`, `refusals` and `server`; each
//! module describes its own. The last four hold theirs for a few instructions only. While a device
//! is called, at most two locks are held: the connection's `inbox`, and, in the middle of a reply
//! that must not be split, the channel's `outward`.

#![forbid(unsafe_code)]
#![warn(clippy::cast_possible_truncation)]

// Before the modules whose tests use it.
#[cfg(test)]
#[macro_use]
#[path = "../tests/client/quiet.rs"]
mod quiet;

mod accept_rate;
mod batch;
mod channel;
mod client;
mod close_reason;
mod connection;
mod device;
mod dialogue;
mod endpoint;
mod export;
mod handshake;
mod lender;
mod lengths;
mod memory_device;
mod peer;
mod pieces;
mod places;
mod proto;
mod refusals;
mod server;
mod service_time;
mod session;
mod socket;
mod stop_signal;
mod tls;
mod turn;

pub use client::ClientInfo;
pub use close_reason::CloseReason;
pub use device::{BlockSizes, Content, Context, Device, Errno, Extent, Extents, Space};
pub use dialogue::{Dialogue, Progress};
pub use endpoint::{Endpoint, EndpointError, PrivateListener};
pub use export::{Export, Exports, InvalidExport};
pub use memory_device::MemoryDevice;
pub use peer::Origin;
pub use proto::Violation;
pub use refusals::Declined;
pub use server::{Clients, Event, Limits, Observer, Server, Stopped};
pub use tls::{Tls, TlsError};
