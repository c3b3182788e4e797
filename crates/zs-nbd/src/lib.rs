//! A server of the NBD protocol: block devices in user space, for whoever speaks NBD.
//!
//! Data model: `Endpoint -> connection -> Handshake -> Export -> Device`. The server knows nothing of what a [`Device`] does
//! with its bytes; the protocol knows nothing of sockets.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use zs_nbd::{Endpoint, Export, Exports, Limits, MemoryDevice, Server};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = Arc::new(MemoryDevice::new(1 << 30)?);
//! let exports = Exports::new(vec![Export::new("", "a disk of memory", disk)?])?;
//! let socket = Endpoint::unix("/run/user/1000/disk.sock".as_ref())?;
//! let server = Server::start(exports, vec![socket], Limits::default(), Arc::new(|_| ()))?;
//! # server.stop(std::time::Duration::ZERO);
//! # Ok(()) }
//! ```
//!
//! | module | responsibility |
//! |---|---|
//! | `device` | what a device has to do |
//! | `export` | devices by name |
//! | `memory` | a device of plain memory |
//! | `proto` | the protocol: bytes in, bytes out |
//! | `session` | one request after the other, against the device |
//! | `batch` | whole requests, cut from what was read, and their replies |
//! | `dialogue` | the whole protocol without a socket |
//! | `tls` | certificates on both sides |
//! | `channel` | a socket, in clear or encrypted |
//! | `endpoint` | unix sockets and TCP ports to connect to |
//! | `connection` | one connection and its threads |
//! | `server` | accepting, limits, the end |
//!
//! # Locking
//!
//! Locks are those of `connection`, `channel` and `server`, described there; the list of connections may be locked while none
//! of the others is. A device is called with `inbox` held at most.

#![forbid(unsafe_code)]

mod batch;
mod channel;
mod connection;
mod device;
mod dialogue;
mod endpoint;
mod export;
mod memory;
mod proto;
mod server;
mod session;
mod tls;

pub use connection::End;
pub use device::{BlockSizes, Content, Context, Device, Errno, Extent, Extents, Space};
pub use dialogue::{Dialogue, Progress};
pub use endpoint::{Endpoint, EndpointError, PrivateListener};
pub use export::{Export, Exports, InvalidExport};
pub use memory::MemoryDevice;
pub use proto::Violation;
pub use server::{Event, Limits, Observer, Server};
pub use tls::{Tls, TlsError};
