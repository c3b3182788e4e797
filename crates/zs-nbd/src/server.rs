//! The server: one thread that accepts, and the threads of each connection.
//!
//! # Locking
//! The list of connections has a lock, held for a look only.

use crate::budget::Budget;
use crate::channel::Channel;
use crate::connection::{self, Bounds};
use crate::end::End;
use crate::endpoint::Endpoint;
use crate::export::Exports;
use crate::refusals::{Declined, Refusals};
use crate::socket::Socket;
use crate::stop::Stop;
use crate::tls::Tls;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the system gets to have descriptors and memory again.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How long threads get whose sockets were shut down, and who are with the device maybe.
const CUT_OFF: Duration = Duration::from_secs(2);

/// What clients may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most connections at once; more are closed at once. An eighth of them is not for TCP, so that who comes through a unix
    /// socket finds a place.
    pub connections: usize,
    /// Most TCP clients at once that are not through with their handshake; these are not counted as connections.
    pub handshakes: usize,
    /// Time for a handshake, that of TLS included; not zero. A client that was told the list of
    /// exports gets a tenth of it more for each, to ask about one by one. At a unix socket it may
    /// become twice that, for a client that is not silent but slow.
    pub handshake: Duration,
    /// Time for the rest of a request that has begun, and for taking the replies to a batch of requests; not zero. As above. For a
    /// request beyond 128 KiB it begins anew once there is memory for it.
    pub request: Duration,
    /// Bytes of all requests beyond 128 KiB and their replies, of all connections; others wait. A single request that is larger
    /// than this gets all of it.
    pub memory: usize,
    /// Bytes of payload of one connection beyond which no further request is read. A request that is being read comes on top.
    pub in_flight: u64,
    /// Most threads that work for one connection; at least 1.
    pub threads: usize,
}

impl Default for Limits {
    /// 64 connections, 16 handshakes of 10 seconds, 60 seconds for a request, 256 MiB of memory, 64 MiB in flight, and as many
    /// threads as there are CPUs, 8 at most.
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            connections: 64,
            handshakes: 16,
            handshake: Duration::from_secs(10),
            request: Duration::from_secs(60),
            memory: 256 << 20,
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
    /// An option or a request was answered with an error. Of each connection and kind the first one
    /// is told.
    Declined(u64, Declined),
    /// A connection ended.
    Closed(u64, End),
    /// A client was turned away: there are too many connections.
    TooMany(usize),
    /// A client was turned away, or the system failed to accept one.
    Refused(io::Error),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(number) => write!(f, "connection {number}: opened"),
            Self::Declined(number, declined) => write!(f, "connection {number}: {declined}"),
            Self::Closed(number, end) => write!(f, "connection {number}: {end}"),
            Self::TooMany(most) => write!(f, "a client was turned away: {most} are connected"),
            Self::Refused(error) => write!(f, "a client was not let in: {error}"),
        }
    }
}

/// How a server came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stopped {
    /// Each connection was through with its requests.
    InTime,
    /// Some clients did not take their replies in time, and were cut off.
    CutOff,
    /// So many connections are still there, since the device does not return from a call. It may be called on.
    Stuck(usize),
}

/// Told of all that happens, by the thread that it happens in. If it panics, what it was told is lost, and nothing else.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// A server that runs. It stops when it is dropped, without waiting for clients that do not take their replies.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    exports: Exports,
    limits: Limits,
    observer: Observer,
    budget: Arc<Budget>,
    stop: Arc<Stop>,
    guests: Mutex<Guests>,
    closed: Condvar,
}

/// Clients by their numbers.
#[derive(Debug, Default)]
struct Guests {
    last: u64,
    list: HashMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    socket: Socket,
    /// Whether it has a place among the connections. TCP clients get it after their handshake.
    admitted: bool,
}

impl Guests {
    fn admitted(&self) -> usize {
        self.list.values().filter(|guest| guest.admitted).count()
    }

    /// Whether there is a place for a TCP client; or how many connections there are.
    fn has_place_for_tcp(&self, limits: &Limits) -> Result<(), usize> {
        let admitted = self.admitted();
        let is_tcp = |guest: &&Guest| guest.admitted && !guest.socket.is_unix();
        let tcp = self.list.values().filter(is_tcp).count();
        let most = limits.connections - limits.connections / 8;
        let fits = admitted < limits.connections && tcp < most;
        fits.then_some(()).ok_or(admitted)
    }

    /// Whether a client may begin its handshake; or how many there are that keep it out.
    fn has_place_for(&self, socket: &Socket, limits: &Limits) -> Result<(), usize> {
        let admitted = self.admitted();
        let (taken, most) = if socket.is_unix() {
            (admitted, limits.connections)
        } else {
            (self.list.len() - admitted, limits.handshakes)
        };
        (taken < most).then_some(()).ok_or(taken)
    }
}

impl Server {
    /// Starts to serve `exports` at `endpoints`.
    ///
    /// # Errors
    /// If the system has no thread or descriptor for it.
    pub fn start(
        exports: Exports,
        endpoints: Vec<Endpoint>,
        limits: Limits,
        observer: Observer,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            exports,
            budget: Arc::new(Budget::new(limits.memory)),
            limits,
            observer,
            stop: Arc::new(Stop::new()?),
            guests: Mutex::default(),
            closed: Condvar::new(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("nbd-accept".into());
            thread.spawn(move || shared.accept(&endpoints))?
        };
        Ok(Self {
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Connections at the moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().admitted()
    }

    /// Ends: nobody connects any more, sockets' files go; whole requests that have arrived are finished and answered; then
    /// connections are closed, after `grace` also those whose clients do not take their replies. Blocks for `grace` and two
    /// seconds at most.
    pub fn stop(mut self, grace: Duration) -> Stopped {
        self.end(grace)
    }

    fn end(&mut self, grace: Duration) -> Stopped {
        self.shared.stop.say();
        if let Some(acceptor) = self.acceptor.take() {
            // It ends without a panic; if not, its endpoints are gone all the same.
            let _ = acceptor.join();
        }
        // TCP is woken by the word alone: shut down for reading, it would go on to take bytes, and could not be drained.
        self.shared.hang_up(Shutdown::Read, Socket::is_unix);
        if self.shared.wait(grace) == 0 {
            return Stopped::InTime;
        }
        self.shared.hang_up(Shutdown::Both, |_| true);
        match self.shared.wait(CUT_OFF) {
            0 => Stopped::CutOff,
            left => Stopped::Stuck(left),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.acceptor.is_some() {
            let _ = self.end(Duration::ZERO);
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
    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &Event) {
        // Whoever observes is somebody else's code: a panic there was printed, and ends nothing here.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.observer)(event)));
    }

    fn accept(self: Arc<Self>, endpoints: &[Endpoint]) {
        loop {
            let mut polled: Vec<PollFd<'_>> = endpoints
                .iter()
                .map(|endpoint| PollFd::new(endpoint, PollFlags::IN))
                .collect();
            polled.push(PollFd::new(&*self.stop, PollFlags::IN));
            // Interrupted, or no memory: looked at again.
            let _ = rustix::event::poll(&mut polled, None);
            if self.stop.is_said() {
                return;
            }
            let failed = endpoints.iter().any(|endpoint| !self.accept_one(endpoint));
            if failed {
                // No descriptor or memory for it: the client goes on waiting, and is asked in again a little later.
                let mut polled = [PollFd::new(&*self.stop, PollFlags::IN)];
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
                    self.tell(&Event::Refused(error));
                }
                let gone = kind == io::ErrorKind::ConnectionAborted;
                return waits || gone || kind == io::ErrorKind::PermissionDenied;
            }
        }
        true
    }

    fn open(self: &Arc<Self>, socket: Socket, tls: Option<&Tls>) {
        let registered = {
            let mut guests = self.lock();
            if let Err(many) = guests.has_place_for(&socket, &self.limits) {
                drop(guests);
                return self.tell(&Event::TooMany(many));
            }
            socket.try_clone().map(|clone| {
                guests.last += 1;
                let number = guests.last;
                let guest = Guest {
                    admitted: clone.is_unix(),
                    socket: clone,
                };
                guests.list.insert(number, guest);
                number
            })
        };
        let number = match registered {
            Ok(number) => number,
            Err(error) => return self.tell(&Event::Refused(error)),
        };
        let entry = Entry {
            shared: Arc::clone(self),
            number,
        };
        let tls = tls.cloned();
        let thread = std::thread::Builder::new().name(format!("nbd-{number}"));
        let spawned = thread.spawn(move || entry.serve(socket, tls.as_ref()));
        if let Err(error) = spawned {
            self.tell(&Event::Refused(error));
        }
    }

    fn hang_up(&self, how: Shutdown, whom: impl Fn(&Socket) -> bool) {
        for guest in self.lock().list.values() {
            if whom(&guest.socket) {
                guest.socket.shutdown(how);
            }
        }
    }

    /// Waits until there is no connection; returns how many there are after that time.
    fn wait(&self, time: Duration) -> usize {
        let guests = self.lock();
        let waited = self
            .closed
            .wait_timeout_while(guests, time, |guests| !guests.list.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.list.len()
    }
}

/// A client's place in the list, taken off when it is dropped.
struct Entry {
    shared: Arc<Shared>,
    number: u64,
}

impl Entry {
    fn serve(self, socket: Socket, tls: Option<&Tls>) {
        let shared = &self.shared;
        shared.tell(&Event::Opened(self.number));
        let channel = Channel::new(socket, Arc::clone(&shared.stop));
        let limits = &shared.limits;
        let bounds = Bounds {
            handshake: limits.handshake,
            request: limits.request,
            in_flight: limits.in_flight,
            threads: limits.threads.max(1),
            budget: Arc::clone(&shared.budget),
        };
        let (told, number) = (Arc::clone(shared), self.number);
        let refusals = Refusals::new(move |declined| told.tell(&Event::Declined(number, declined)));
        let served = catch_unwind(AssertUnwindSafe(|| {
            let admit = || self.admit();
            connection::serve(channel, &shared.exports, tls, bounds, refusals, admit)
        }));
        let end = served.unwrap_or(End::Panicked);
        shared.tell(&Event::Closed(self.number, end));
    }

    /// After the handshake: a place for a TCP client. Others have one.
    fn admit(&self) -> Result<(), End> {
        let mut guests = self.shared.lock();
        let place = guests.has_place_for_tcp(&self.shared.limits);
        match guests.list.get_mut(&self.number) {
            Some(guest) if !guest.admitted => {
                place.map_err(End::TooMany)?;
                guest.admitted = true;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.lock().list.remove(&self.number);
        self.shared.closed.notify_all();
    }
}
