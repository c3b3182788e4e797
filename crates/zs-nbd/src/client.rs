//! A client of the server: its facts and counters.

use crate::close_reason::CloseReason;
use crate::peer::Origin;
use crate::socket::Socket;
use std::net::Shutdown;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The reason why the server ended a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dismissal {
    /// Another client needed its place.
    Displaced,
    /// [`Clients::disconnect`](crate::Clients::disconnect) was called for it.
    Disconnected,
}

impl From<Dismissal> for CloseReason {
    fn from(why: Dismissal) -> Self {
        match why {
            Dismissal::Displaced => Self::Displaced,
            Dismissal::Disconnected => Self::Disconnected,
        }
    }
}

/// The facts about a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The number of its connection, from 1.
    pub number: u64,
    /// The user and process, or the address, that it connected from.
    pub origin: Origin,
    /// The name of its export; `None` before the end of its handshake.
    pub export: Option<String>,
    /// The time since it connected.
    pub connected: Duration,
    /// The time since it last sent or took a byte.
    pub idle: Duration,
    /// The number of its requests so far.
    pub requests: u64,
    /// The bytes of payload that it read and wrote so far.
    pub bytes: u64,
}

/// A client, shared by all threads that serve or list it. The counters are read for display and for
/// idle times only, so their accesses are relaxed.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) origin: Origin,
    socket: Socket,
    since: Instant,
    export: OnceLock<String>,
    /// The time of the last byte sent or received, in nanoseconds after `since`.
    moved: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    dismissal: OnceLock<Dismissal>,
}

impl Client {
    pub(crate) fn new(number: u64, origin: Origin, socket: Socket) -> Self {
        Self {
            number,
            origin,
            socket,
            since: Instant::now(),
            export: OnceLock::new(),
            moved: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dismissal: OnceLock::new(),
        }
    }

    pub(crate) fn got(&self, export: &str) {
        // A client gets one export only, so this is the first call.
        let _ = self.export.set(export.to_owned());
    }

    /// Notes that a byte was sent or received, or that the client is not the cause of the silence.
    pub(crate) fn touch(&self) {
        let now = self.since.elapsed().as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    pub(crate) fn last_moved(&self) -> Instant {
        self.since + Duration::from_nanos(self.moved.load(Ordering::Relaxed))
    }

    pub(crate) fn asked(&self, requests: u64, bytes: u64) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn info(&self) -> ClientInfo {
        ClientInfo {
            number: self.number,
            origin: self.origin,
            export: self.export.get().cloned(),
            connected: self.since.elapsed(),
            idle: self.last_moved().elapsed(),
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Ends the connection: shuts the socket down, which wakes its threads.
    pub(crate) fn dismiss(&self, why: Dismissal) {
        // The first reason counts.
        let _ = self.dismissal.set(why);
        self.socket.shutdown(Shutdown::Both);
    }

    pub(crate) fn dismissal(&self) -> Option<Dismissal> {
        self.dismissal.get().copied()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }
}
