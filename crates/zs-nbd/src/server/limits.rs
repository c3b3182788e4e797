//! What clients may take.

use crate::batch::BATCH_BYTES;
use crate::places::Capacity;
use std::time::Duration;

/// The bounds of the clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most connections in service at once. An eighth of them is not for TCP, so that who comes
    /// through a unix socket finds a place. When all are taken, a newcomer is told so, unless
    /// another client makes room: one of the peer (a user at unix sockets, an address at TCP) that
    /// has most of them, if the newcomer's has less; or one of TCP that was idle for `spare`. TCP
    /// never takes a place from a unix socket.
    pub connections: usize,
    /// Most handshakes at once at unix sockets, and as many at TCP; at least 1. One more, and the
    /// oldest of the peer with most of them makes room.
    pub handshakes: usize,
    /// Time for a handshake, that of TLS included; not zero. A client that was told the list of
    /// exports gets a tenth of it more for each, to ask about one by one. At a unix socket it may
    /// become twice that, for a client that is not silent but slow.
    pub handshake: Duration,
    /// The least rate of a TCP client: 128 KiB in this time, of a request that has begun as of the
    /// replies to it. A client of a unix socket may be as slow as it likes: nobody waits for it.
    pub request: Duration,
    /// After so long without a byte from a client or to it, while it waits for nothing, its
    /// connection ends. It may become twice that at a unix socket. Not zero.
    pub idle: Option<Duration>,
    /// A client of TCP that was idle for so long makes room for another one when all places are
    /// taken.
    pub spare: Duration,
    /// Bytes of buffers that are lent to connections, for more than one thread each; beside those
    /// that each has, see [`most_memory`](Self::most_memory). What is lent goes by shares of peers
    /// and their clients, and nobody waits for it.
    pub memory: usize,
    /// Bytes of payload of one connection beyond which no further request is read.
    pub in_flight: u64,
    /// Most threads that work for one connection; at least 1.
    pub threads: usize,
}

impl Default for Limits {
    /// 64 connections, 64 handshakes of 10 seconds, 128 KiB in a minute, no limit for who is idle
    /// but a minute when places are wanted, 64 MiB of memory, 64 MiB in flight, and as many threads
    /// as there are CPUs, 8 at most.
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
    /// Most bytes of buffers for requests and replies, of all connections together: 396 KiB for
    /// each, and those that are lent. However long requests are.
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
