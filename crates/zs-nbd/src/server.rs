//! The server: one thread that accepts connections, and the threads of each connection.
//!
//! # Locking
//! The table of clients has a lock, held for a few instructions. `places` decides which clients are
//! in it.

use crate::accept_rate::AcceptRate;
use crate::batch::BATCH_BYTES;
use crate::channel::Channel;
use crate::client::{Client, Dismissal};
use crate::close_reason::CloseReason;
use crate::connection::{self, Admission, Bounds};
use crate::endpoint::Endpoint;
use crate::export::Exports;
use crate::handshake::SocketHandshake;
use crate::lender::Lender;
use crate::peer::Origin;
use crate::places::{NoPlace, Placement, Places};
use crate::refusals::Refusals;
use crate::socket::Socket;
use crate::stop_signal::StopSignal;
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

/// The pause after the system had no descriptor or memory for a connection.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The time that threads get to end after their sockets were shut down. They may be inside a call
/// of the device.
const CUT_OFF: Duration = Duration::from_secs(2);

/// The outcome of stopping a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stopped {
    /// Each connection finished its requests in time.
    InTime,
    /// Some clients did not take their replies in time. They were cut off.
    CutOff,
    /// This many connections are still there, because the device has not returned from a call. The
    /// device may still be called by them.
    Stuck(usize),
}

/// The outcome of an attempt to accept a connection.
enum Accepted {
    /// A connection came. It was let in or refused.
    Client,
    Nobody,
    /// The system has no descriptor or memory for it.
    Failed,
}

/// A callback for the events of a server, called on the thread that causes each event. If it
/// panics, that event is lost, and nothing else happens.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// A running server. Dropping it stops it, without waiting for clients that do not take their
/// replies.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    exports: Exports,
    observer: Observer,
    bounds: Bounds,
    stop: Arc<StopSignal>,
    table: Mutex<ClientTable>,
    closed: Condvar,
}

/// The clients by their connection numbers, and their places.
#[derive(Debug)]
struct ClientTable {
    places: Places,
    list: BTreeMap<u64, Arc<Client>>,
}

impl ClientTable {
    fn dismiss(&self, number: Option<u64>, why: Dismissal) {
        if let Some(client) = number.and_then(|number| self.list.get(&number)) {
            client.dismiss(why);
        }
    }
}

impl Server {
    /// Starts serving `exports` at `endpoints`.
    ///
    /// # Errors
    /// The system's error if it has no thread or descriptor left.
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
        let table = ClientTable {
            places: Places::new(limits.capacity()),
            list: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            exports,
            bounds,
            observer,
            stop: Arc::new(StopSignal::new()?),
            table: Mutex::new(table),
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

    /// Returns the number of connections in service now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().places.serving()
    }

    /// Returns a handle for listing and disconnecting clients.
    #[must_use]
    pub fn clients(&self) -> Clients {
        Clients::of(&self.shared)
    }

    /// Stops the server. New connections are refused and socket files are removed. Requests that
    /// have arrived whole are finished and answered, then their connections are closed. After
    /// `grace`, connections whose clients do not take their replies are closed too. Blocks for at
    /// most `grace` plus 2 seconds.
    pub fn stop(mut self, grace: Duration) -> Stopped {
        self.end(grace)
    }

    fn end(&mut self, grace: Duration) -> Stopped {
        self.shared.stop.set();
        if let Some(acceptor) = self.acceptor.take() {
            // It does not panic. If it did, its endpoints would be gone all the same.
            let _ = acceptor.join();
        }
        // TCP connections are woken by the stop signal alone. A TCP socket that is shut down for
        // reading goes on to receive bytes, so it could not be drained.
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
    fn lock(&self) -> MutexGuard<'_, ClientTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &Event) {
        // The observer is code of the embedding program. A panic in it was printed already, and
        // must not end this thread.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.observer)(event)));
    }

    fn accept(self: Arc<Self>, endpoints: &[Endpoint]) {
        let begun = Instant::now();
        let gates = endpoints
            .iter()
            .map(|endpoint| (endpoint, AcceptRate::new(begun)));
        let mut gates: Vec<(&Endpoint, AcceptRate)> = gates.collect();
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
            // After an interruption, or without memory, the loop polls again.
            let _ = rustix::event::poll(&mut polled, pause.as_ref());
            if self.stop.is_set() {
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
                // Without a descriptor or memory for it, the connection stays in the system's queue
                // until the next try.
                let mut polled = [PollFd::new(&*self.stop, PollFlags::IN)];
                let _ = rustix::event::poll(&mut polled, Some(&RETRY));
            }
        }
    }

    /// Accepts the next connection, if one waits.
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
        let client = match registered {
            Ok(Ok(client)) => client,
            Ok(Err(NoPlace(left))) => return self.tell(&Event::TooMany(left)),
            Err(error) => return self.tell(&Event::Refused(error)),
        };
        let thread = std::thread::Builder::new().name(format!("nbd-{}", client.number));
        let registration = Registration {
            shared: Arc::clone(self),
            client,
        };
        let tls = tls.cloned();
        let spawned = thread.spawn(move || registration.serve(socket, tls.as_ref()));
        if let Err(error) = spawned {
            self.tell(&Event::Refused(error));
        }
    }

    fn register(&self, origin: Origin, socket: Socket) -> Result<Arc<Client>, NoPlace> {
        let mut table = self.lock();
        let Placement { number, displaced } = table.places.enter(&origin)?;
        table.dismiss(displaced, Dismissal::Displaced);
        let client = Arc::new(Client::new(number, origin, socket));
        table.list.insert(number, Arc::clone(&client));
        Ok(client)
    }

    fn hang_up(&self, how: Shutdown, whom: impl Fn(&Socket) -> bool) {
        for client in self.lock().list.values() {
            if whom(client.socket()) {
                client.socket().shutdown(how);
            }
        }
    }

    /// Waits until there is no connection, for `time` at most. Returns the number that is left.
    fn wait(&self, time: Duration) -> usize {
        let table = self.lock();
        let waited = self
            .closed
            .wait_timeout_while(table, time, |table| !table.list.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.list.len()
    }
}

/// A client's entry in the table, removed when this is dropped.
struct Registration {
    shared: Arc<Shared>,
    client: Arc<Client>,
}

impl Registration {
    fn serve(self, socket: Socket, tls: Option<&Tls>) {
        let (shared, client) = (&self.shared, &self.client);
        shared.tell(&Event::Opened(client.number, client.origin));
        let channel = Channel::new(socket, Arc::clone(&shared.stop));
        let (told, number) = (Arc::clone(shared), client.number);
        let refusals = Refusals::new(move |declined| told.tell(&Event::Declined(number, declined)));
        let served = catch_unwind(AssertUnwindSafe(|| {
            let handshake =
                SocketHandshake::open(&shared.exports, tls, refusals, shared.bounds.handshake);
            connection::serve(channel, handshake, &shared.bounds, client, &self)
        }));
        let end = match client.dismissal() {
            Some(why) => why.into(),
            None => served.unwrap_or(CloseReason::Panicked),
        };
        shared.tell(&Event::Closed(client.number, end));
    }
}

impl Admission for Registration {
    fn admit(&self) -> Result<(), CloseReason> {
        let table = &mut *self.shared.lock();
        let list = &table.list;
        let idle = |number| {
            let client = list.get(&number);
            client.map_or(Duration::ZERO, |client| client.last_moved().elapsed())
        };
        let placement = table.places.admit(self.client.number, idle);
        let Placement { displaced, .. } =
            placement.map_err(|NoPlace(taken)| CloseReason::TooMany(taken))?;
        table.dismiss(displaced, Dismissal::Displaced);
        Ok(())
    }

    fn denied(&self, why: CloseReason) {
        self.shared.tell(&Event::Denied(self.client.number, why));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.shared.lock();
        table.places.leave(self.client.number);
        table.list.remove(&self.client.number);
        drop(table);
        self.shared.closed.notify_all();
    }
}
