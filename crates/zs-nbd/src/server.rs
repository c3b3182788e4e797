//! The server: one thread that accepts, and the threads of each connection.
//!
//! # Locking
//! The list of guests has a lock, held for a look only. Those who have a place there are another
//! matter: `places`.

use crate::batch::BATCH_BYTES;
use crate::channel::Channel;
use crate::close_reason::CloseReason;
use crate::connection::{self, Bounds, Door};
use crate::endpoint::Endpoint;
use crate::export::Exports;
use crate::guest::{Dismissal, Guest};
use crate::handshake::Lobby;
use crate::lender::Lender;
use crate::peer::Origin;
use crate::places::{Full, Given, Places};
use crate::rate::Rate;
use crate::refusals::Refusals;
use crate::socket::Socket;
use crate::stop::Stop;
use crate::tls::Tls;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

mod clients;
mod event;
mod limits;

pub use clients::Clients;
pub use event::Event;
pub use limits::Limits;

/// How long the system gets to have descriptors and memory again.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How long threads get whose sockets were shut down, and who are with the device maybe.
const CUT_OFF: Duration = Duration::from_secs(2);

/// The way in which a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stopped {
    /// Each connection was through with its requests.
    InTime,
    /// Some clients did not take their replies in time, and were cut off.
    CutOff,
    /// So many connections are still there, since the device does not return from a call. It may be
    /// called on.
    Stuck(usize),
}

/// The outcome of an attempt to let a client in.
enum Accepted {
    /// One came, and was let in or not.
    Client,
    Nobody,
    /// The system has nothing left for it.
    Failed,
}

/// Told of all that happens, by the thread that it happens in. If it panics, what it was told is
/// lost, and nothing else.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// A server that runs. It stops when it is dropped, without waiting for clients that do not take
/// their replies.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    exports: Exports,
    observer: Observer,
    bounds: Bounds,
    stop: Arc<Stop>,
    guests: Mutex<Guests>,
    closed: Condvar,
}

/// Clients by their numbers, and their places.
#[derive(Debug)]
struct Guests {
    places: Places,
    list: BTreeMap<u64, Arc<Guest>>,
}

impl Guests {
    fn dismiss(&self, number: Option<u64>, why: Dismissal) {
        if let Some(guest) = number.and_then(|number| self.list.get(&number)) {
            guest.dismiss(why);
        }
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
        let bounds = Bounds {
            handshake: limits.handshake,
            request: limits.request,
            idle: limits.idle,
            in_flight: limits.in_flight,
            threads: limits.threads.max(1),
            lender: Arc::new(Lender::new(limits.memory / BATCH_BYTES)),
        };
        let guests = Guests {
            places: Places::new(limits.capacity()),
            list: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            exports,
            bounds,
            observer,
            stop: Arc::new(Stop::new()?),
            guests: Mutex::new(guests),
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

    /// Connections in service at the moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().places.serving()
    }

    /// Its clients.
    #[must_use]
    pub fn clients(&self) -> Clients {
        Clients::of(&self.shared)
    }

    /// Ends: nobody connects any more, sockets' files go; whole requests that have arrived are
    /// finished and answered; then connections are closed, after `grace` also those whose clients
    /// do not take their replies. Blocks for `grace` and two seconds at most.
    pub fn stop(mut self, grace: Duration) -> Stopped {
        self.end(grace)
    }

    fn end(&mut self, grace: Duration) -> Stopped {
        self.shared.stop.say();
        if let Some(acceptor) = self.acceptor.take() {
            // It ends without a panic; if not, its endpoints are gone all the same.
            let _ = acceptor.join();
        }
        // TCP is woken by the word alone: shut down for reading, it would go on to take bytes, and
        // could not be drained.
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
        // Whoever observes is somebody else's code: a panic there was printed, and ends nothing
        // here.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.observer)(event)));
    }

    fn accept(self: Arc<Self>, endpoints: &[Endpoint]) {
        let begun = Instant::now();
        let gates = endpoints
            .iter()
            .map(|endpoint| (endpoint, Rate::new(begun)));
        let mut gates: Vec<(&Endpoint, Rate)> = gates.collect();
        loop {
            let now = Instant::now();
            let waits = gates.iter().map(|(_, rate)| rate.wait(now));
            let pause = waits.filter(|wait| !wait.is_zero()).min();
            let mut open: Vec<_> = gates
                .iter_mut()
                .filter(|(_, rate)| rate.wait(now).is_zero())
                .collect();
            let mut polled: Vec<PollFd<'_>> = open
                .iter()
                .map(|(endpoint, _)| PollFd::new(*endpoint, PollFlags::IN))
                .collect();
            polled.push(PollFd::new(&*self.stop, PollFlags::IN));
            let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
            // Interrupted, or no memory: looked at again.
            let _ = rustix::event::poll(&mut polled, pause.as_ref());
            if self.stop.is_said() {
                return;
            }
            let mut failed = false;
            for (endpoint, rate) in &mut open {
                match self.accept_one(endpoint) {
                    Accepted::Client => rate.note(now),
                    Accepted::Nobody => {}
                    Accepted::Failed => failed = true,
                }
            }
            if failed {
                // No descriptor or memory for it: the client goes on waiting, and is asked in again
                // a little later.
                let mut polled = [PollFd::new(&*self.stop, PollFlags::IN)];
                let _ = rustix::event::poll(&mut polled, Some(&RETRY));
            }
        }
    }

    /// Lets the next client in, if there is one.
    fn accept_one(self: &Arc<Self>, endpoint: &Endpoint) -> Accepted {
        match endpoint.accept() {
            Ok(socket) => {
                self.open(socket, endpoint.tls());
                Accepted::Client
            }
            Err(error) => {
                let kind = error.kind();
                if kind == io::ErrorKind::WouldBlock {
                    return Accepted::Nobody;
                }
                self.tell(&Event::Refused(error));
                match kind {
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::PermissionDenied => {
                        Accepted::Client
                    }
                    _ => Accepted::Failed,
                }
            }
        }
    }

    fn open(self: &Arc<Self>, socket: Socket, tls: Option<&Tls>) {
        let registered = Origin::of(&socket).and_then(|origin| {
            let clone = socket.try_clone()?;
            Ok(self.register(origin, clone))
        });
        let guest = match registered {
            Ok(Ok(guest)) => guest,
            Ok(Err(Full(left))) => return self.tell(&Event::TooMany(left)),
            Err(error) => return self.tell(&Event::Refused(error)),
        };
        let thread = std::thread::Builder::new().name(format!("nbd-{}", guest.number));
        let entry = Entry {
            shared: Arc::clone(self),
            guest,
        };
        let tls = tls.cloned();
        let spawned = thread.spawn(move || entry.serve(socket, tls.as_ref()));
        if let Err(error) = spawned {
            self.tell(&Event::Refused(error));
        }
    }

    fn register(&self, origin: Origin, socket: Socket) -> Result<Arc<Guest>, Full> {
        let mut guests = self.lock();
        let Given { number, displaced } = guests.places.enter(&origin)?;
        guests.dismiss(displaced, Dismissal::Displaced);
        let guest = Arc::new(Guest::new(number, origin, socket));
        guests.list.insert(number, Arc::clone(&guest));
        Ok(guest)
    }

    fn hang_up(&self, how: Shutdown, whom: impl Fn(&Socket) -> bool) {
        for guest in self.lock().list.values() {
            if whom(guest.socket()) {
                guest.socket().shutdown(how);
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
    guest: Arc<Guest>,
}

impl Entry {
    fn serve(self, socket: Socket, tls: Option<&Tls>) {
        let (shared, guest) = (&self.shared, &self.guest);
        shared.tell(&Event::Opened(guest.number, guest.origin));
        let channel = Channel::new(socket, Arc::clone(&shared.stop));
        let (told, number) = (Arc::clone(shared), guest.number);
        let refusals = Refusals::new(move |declined| told.tell(&Event::Declined(number, declined)));
        let served = catch_unwind(AssertUnwindSafe(|| {
            let lobby = Lobby::open(&shared.exports, tls, refusals, shared.bounds.handshake);
            connection::serve(channel, lobby, &shared.bounds, guest, &self)
        }));
        let end = match guest.dismissal() {
            Some(why) => why.into(),
            None => served.unwrap_or(CloseReason::Panicked),
        };
        shared.tell(&Event::Closed(guest.number, end));
    }
}

impl Door for Entry {
    fn admit(&self) -> Result<(), CloseReason> {
        let guests = &mut *self.shared.lock();
        let list = &guests.list;
        let idle = |number| {
            let guest = list.get(&number);
            guest.map_or(Duration::ZERO, |guest| guest.last_moved().elapsed())
        };
        let given = guests.places.admit(self.guest.number, idle);
        let Given { displaced, .. } = given.map_err(|Full(taken)| CloseReason::TooMany(taken))?;
        guests.dismiss(displaced, Dismissal::Displaced);
        Ok(())
    }

    fn denied(&self, why: CloseReason) {
        self.shared.tell(&Event::Denied(self.guest.number, why));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut guests = self.shared.lock();
        guests.places.leave(self.guest.number);
        guests.list.remove(&self.guest.number);
        drop(guests);
        self.shared.closed.notify_all();
    }
}
