//! A client: who it is, and what it did.

use crate::close_reason::CloseReason;
use crate::peer::Origin;
use crate::socket::Socket;
use std::net::Shutdown;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Why a client was made to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dismissal {
    /// Another one needed the place.
    Displaced,
    /// Somebody asked for it.
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
    /// Its origin.
    pub origin: Origin,
    /// Its export; `None` before the end of its handshake.
    pub export: Option<String>,
    /// The time since it connected.
    pub connected: Duration,
    /// The time since it last sent or took a byte.
    pub idle: Duration,
    /// Its requests so far.
    pub requests: u64,
    /// Their payload in bytes, read and written.
    pub bytes: u64,
}

/// A client, for all threads that have to do with it. Its counters are figures for people and for
/// who is idle: relaxed.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) number: u64,
    pub(crate) origin: Origin,
    socket: Socket,
    since: Instant,
    export: OnceLock<String>,
    /// Nanoseconds from `since` on, when a byte last moved.
    moved: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    dismissal: OnceLock<Dismissal>,
}

impl Guest {
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
        // It gets one once.
        let _ = self.export.set(export.to_owned());
    }

    /// A byte moved, or what holds it up is not the client.
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

    /// Makes it go: its socket is shut down, which wakes its threads.
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
