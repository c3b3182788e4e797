//! The server: one thread that accepts, and the threads of each connection.
//!
//! # Locking
//! The list of connections has a lock, held for a look only.

use crate::channel::{Channel, Socket};
use crate::connection::{self, Bounds, End};
use crate::endpoint::Endpoint;
use crate::export::Exports;
use crate::tls::Tls;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the system gets to have descriptors and memory again.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What clients may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most connections at once; more are closed at once.
    pub connections: usize,
    /// Time for a handshake, that of TLS included.
    pub handshake: Duration,
    /// Bytes of payload of one connection beyond which no further request is read. A request that is being read comes on top.
    pub in_flight: u64,
    /// Most threads that work for one connection; at least 1.
    pub threads: usize,
}

impl Default for Limits {
    /// 64 connections, 10 seconds, 64 MiB, and as many threads as there are CPUs, 8 at most.
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            connections: 64,
            handshake: Duration::from_secs(10),
            in_flight: 64 << 20,
            threads: cpus.min(8),
        }
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A client connected; connections are numbered from 1.
    Opened(u64),
    /// A connection ended.
    Closed(u64, End),
    /// A client was turned away: there are too many connections.
    TooMany(usize),
    /// A client was turned away, or the system failed to accept one.
    Refused(io::Error),
}

/// Told of all that happens, by the thread that it happens in.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// A server that runs. It stops when it is dropped, without waiting for clients that do not take their replies.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    wake: UnixStream,
}

struct Shared {
    exports: Exports,
    limits: Limits,
    observer: Observer,
    open: Mutex<Open>,
    closed: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    stopping: bool,
    last: u64,
    sockets: HashMap<u64, Socket>,
}

impl Server {
    /// Starts to serve `exports` at `endpoints`.
    ///
    /// # Errors
    /// If the system has no thread or pipe for it.
    pub fn start(
        exports: Exports,
        endpoints: Vec<Endpoint>,
        limits: Limits,
        observer: Observer,
    ) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        let shared = Arc::new(Shared {
            exports,
            limits,
            observer,
            open: Mutex::default(),
            closed: Condvar::new(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("nbd-accept".into());
            thread.spawn(move || shared.accept(&endpoints, &woken))?
        };
        Ok(Self {
            shared,
            acceptor: Some(acceptor),
            wake,
        })
    }

    /// Connections at the moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().sockets.len()
    }

    /// Ends: nobody connects any more, sockets' files go; whole requests that have arrived are finished and answered; then
    /// connections are closed, after `grace` also those whose clients do not take their replies. Returns whether all of them
    /// ended in time.
    pub fn stop(mut self, grace: Duration) -> bool {
        self.end(grace)
    }

    fn end(&mut self, grace: Duration) -> bool {
        self.shared.lock().stopping = true;
        self.wake.shutdown(Shutdown::Both).ok();
        if let Some(acceptor) = self.acceptor.take() {
            // It ends without a panic; if not, its endpoints are gone all the same.
            let _ = acceptor.join();
        }
        self.shared.hang_up(Shutdown::Read);
        let in_time = self.shared.wait(Some(Instant::now() + grace));
        if !in_time {
            self.shared.hang_up(Shutdown::Both);
            self.shared.wait(None);
        }
        in_time
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.acceptor.is_some() {
            self.end(Duration::ZERO);
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("exports", &self.shared.exports)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, endpoints: &[Endpoint], woken: &UnixStream) {
        loop {
            let mut polled: Vec<PollFd<'_>> = endpoints
                .iter()
                .map(|endpoint| PollFd::new(endpoint, PollFlags::IN))
                .collect();
            polled.push(PollFd::new(woken, PollFlags::IN));
            // Interrupted, or no memory: looked at again.
            let _ = rustix::event::poll(&mut polled, None);
            if self.lock().stopping {
                return;
            }
            let failed = endpoints.iter().any(|endpoint| !self.accept_one(endpoint));
            if failed {
                // No descriptor or memory for it: the client goes on waiting, and is asked in again a little later.
                let mut polled = [PollFd::new(woken, PollFlags::IN)];
                let _ = rustix::event::poll(&mut polled, Some(&RETRY));
            }
        }
    }

    /// Lets the next client in, if there is one. Returns whether the system was able to.
    fn accept_one(self: &Arc<Self>, endpoint: &Endpoint) -> bool {
        match endpoint.accept() {
            Ok(socket) => self.open(socket, endpoint.tls()),
            Err(error) => {
                let kind = error.kind();
                let waits = kind == io::ErrorKind::WouldBlock;
                if !waits {
                    (self.observer)(&Event::Refused(error));
                }
                let gone = kind == io::ErrorKind::ConnectionAborted;
                return waits || gone || kind == io::ErrorKind::PermissionDenied;
            }
        }
        true
    }

    fn open(self: &Arc<Self>, socket: Socket, tls: Option<&Tls>) {
        let registered = {
            let mut open = self.lock();
            let many = open.sockets.len();
            if many >= self.limits.connections {
                drop(open);
                return (self.observer)(&Event::TooMany(many));
            }
            socket.try_clone().map(|clone| {
                open.last += 1;
                let number = open.last;
                open.sockets.insert(number, clone);
                number
            })
        };
        let number = match registered {
            Ok(number) => number,
            Err(error) => return (self.observer)(&Event::Refused(error)),
        };
        let entry = Entry {
            shared: Arc::clone(self),
            number,
        };
        let tls = tls.cloned();
        let thread = std::thread::Builder::new().name(format!("nbd-{number}"));
        let spawned = thread.spawn(move || entry.serve(socket, tls.as_ref()));
        if let Err(error) = spawned {
            (self.observer)(&Event::Refused(error));
        }
    }

    fn hang_up(&self, how: Shutdown) {
        for socket in self.lock().sockets.values() {
            socket.shutdown(how);
        }
    }

    /// Waits until there is no connection; returns whether that was before the deadline.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut open = self.lock();
        while !open.sockets.is_empty() {
            open = match deadline {
                None => {
                    let woken = self.closed.wait(open);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    let woken = self.closed.wait_timeout(open, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

/// A connection's place in the list, taken off when it is dropped.
struct Entry {
    shared: Arc<Shared>,
    number: u64,
}

impl Entry {
    fn serve(self, socket: Socket, tls: Option<&Tls>) {
        let limits = &self.shared.limits;
        (self.shared.observer)(&Event::Opened(self.number));
        let bounds = Bounds {
            handshake: limits.handshake,
            in_flight: limits.in_flight,
            threads: limits.threads.max(1),
        };
        let end = connection::serve(Channel::new(socket), &self.shared.exports, tls, bounds);
        (self.shared.observer)(&Event::Closed(self.number, end));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.lock().sockets.remove(&self.number);
        self.shared.closed.notify_all();
    }
}
