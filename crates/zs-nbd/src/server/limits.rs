//! The limits on clients.

use crate::batch::BATCH_BYTES;
use crate::places::Capacity;
use std::time::Duration;

/// The limits on clients: their number, times and memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most connections in service at once. TCP gets at most seven eighths of them, so that a
    /// unix socket always finds a place. When all are taken, a new client is refused unless
    /// another client can be displaced. That is a client of the peer (a user for unix sockets,
    /// an address for TCP) with the most connections, if the new client's peer has fewer; or a
    /// TCP client that was idle for `spare`. A TCP client never displaces a client of a unix
    /// socket.
    pub connections: usize,
    /// The most handshakes at once over unix sockets, and the same number over TCP; at least 1.
    /// One more displaces the oldest handshake of the peer that has the most.
    pub handshakes: usize,
    /// The time for a handshake, with that of TLS; not zero. A client that listed the exports gets
    /// a tenth more for each export, to ask about them one by one. Over a unix socket, a client
    /// that is slow but not silent may take twice as long.
    pub handshake: Duration,
    /// The slowest rate of a TCP client: 128 KiB in this time, for the rest of a request that has
    /// begun and for its replies. A client of a unix socket may be as slow as it likes, because no
    /// other client waits for it.
    pub request: Duration,
    /// The time after which an idle connection is ended: no byte was sent or received, and no
    /// request is pending. Over a unix socket it may take up to twice this time. Not zero.
    pub idle: Option<Duration>,
    /// The idle time after which a TCP client may be displaced when all places are taken.
    pub spare: Duration,
    /// The bytes of buffers that are lent to connections for their second and further threads.
    /// Each connection has buffers for its first thread besides: see
    /// [`most_memory`](Self::most_memory). Peers and their clients borrow by shares. A
    /// connection never waits for a loan.
    pub memory: usize,
    /// The bytes of payload in progress at which a connection reads no further request.
    pub in_flight: u64,
    /// The most threads that work for one connection; at least 1.
    pub threads: usize,
}

impl Default for Limits {
    /// Returns 64 connections; 64 handshakes of 10 seconds; 128 KiB a minute; no idle limit, but a
    /// `spare` of 1 minute; 64 MiB of lent memory; 64 MiB in flight; and a thread for each CPU, 8
    /// at most.
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            connections: 64,
            handshakes: 64,
            handshake: Duration::from_secs(10),
            request: Duration::from_secs(60),
            idle: None,
            spare: Duration::from_secs(60),
            memory: 64 << 20,
            in_flight: 64 << 20,
            threads: cpus.min(8),
        }
    }
}

impl Limits {
    /// Returns the most bytes of request and reply buffers of all connections together: 396 KiB for
    /// each connection, and the lent memory. The length of requests does not matter.
    #[must_use]
    pub fn most_memory(&self) -> usize {
        self.connections * BATCH_BYTES + self.memory
    }

    pub(super) fn capacity(&self) -> Capacity {
        Capacity {
            service: self.connections,
            lobby: self.handshakes,
            spare: self.spare,
        }
    }
}
