//! One connection: the handshake, then batches of requests.
//!
//! Data model: `socket -> carry + input -> whole requests -> device -> replies -> socket`. A payload is read from the socket to
//! where the device takes it from, and by the device to where it is sent from.
//!
//! A thread reads what has arrived, takes a batch of whole requests, and, if more is there and the device is slow, leaves
//! reading to the next thread while it works. With one request in flight nothing is ever handed over. Replies are sent a batch at a time,
//! in any order. See `docs/decisions/0022-nbd-event-loop.md`.
//!
//! # Locking
//! `inbox`: held while reading, and, if nothing else is there to do, while working. `outbox`: held while sending; it may be taken
//! with `inbox` held, never the other way round.

use crate::batch::{Batch, Next};
use crate::channel::{Channel, Socket};
use crate::device::Errno;
use crate::export::Exports;
use crate::proto::{Handshake, Security, Step, Violation};
use crate::session::Session;
use crate::tls::Tls;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// Work on a batch that is worth waking another thread to read on: several times what a wake-up costs.
const HAND_OVER: Duration = Duration::from_micros(50);

/// So many in a row make a device slow: a single one may have been the scheduler's fault.
const SLOW_BATCHES: usize = 3;

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client said goodbye.
    Goodbye,
    /// The client was gone; `cut` if that was in the middle of a request, which then never happened.
    Gone {
        /// Whether a part of a request had come.
        cut: bool,
    },
    /// The client did what the protocol has no answer to.
    Violation(Violation),
    /// The device did not take the client.
    KeptOut(Errno),
    /// The handshake took too long.
    Slow(Duration),
    /// The socket failed.
    Socket(io::Error),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) handshake: Duration,
    pub(crate) in_flight: u64,
    pub(crate) threads: usize,
}

/// Serves a connection to its end.
pub(crate) fn serve(
    mut channel: Channel,
    exports: &Exports,
    tls: Option<&Tls>,
    bounds: Bounds,
) -> End {
    let agreed = shake_hands(&mut channel, exports, tls, bounds.handshake);
    let end = match agreed {
        Ok(Some((session, early))) => {
            let connection = Connection::new(&channel, session, early, bounds);
            let device = connection.session.device();
            let attached = device.attached(&mut || {
                std::thread::scope(|scope| connection.work(scope));
            });
            match attached {
                Ok(()) => connection.end(),
                Err(errno) => End::KeptOut(errno),
            }
        }
        Ok(None) => End::Goodbye,
        Err(end) => end,
    };
    channel.close();
    end
}

/// The handshake: who comes out of it, with what was read beyond it; nobody, if the client did not want to go on.
fn shake_hands(
    channel: &mut Channel,
    exports: &Exports,
    tls: Option<&Tls>,
    time: Duration,
) -> Result<Option<(Session, Vec<u8>)>, End> {
    let deadline = Instant::now() + time;
    let security = tls.map_or(Security::Clear, |_| Security::Wanted);
    let mut out = Vec::new();
    let mut handshake = Handshake::new(exports, security, &mut out);
    let mut input = Vec::new();
    let mut buf = [0; 4096];
    loop {
        let (taken, step) = handshake.advance(&input, &mut out)?;
        input.drain(..taken);
        channel.socket().set_timeout(Some(left(deadline, time)?))?;
        let sent = channel.write(&out);
        sent.map_err(|error| timely(error, time))?;
        out.clear();
        match step {
            Step::More => {}
            Step::End => return Ok(None),
            Step::StartTls => {
                if let Some(tls) = tls {
                    channel.start_tls(tls.config())?;
                }
                handshake.encrypted();
            }
            Step::Begin(agreement) => {
                channel.socket().set_timeout(None)?;
                return Ok(Some((Session::new(agreement), input)));
            }
        }
        // Within one read of a channel with TLS there may be several of the socket, each with this limit.
        channel.socket().set_timeout(Some(left(deadline, time)?))?;
        match channel.read(&mut buf) {
            Ok(0) => return Err(End::Gone { cut: false }),
            Ok(len) => input.extend_from_slice(&buf[..len]),
            Err(error) => return Err(timely(error, time)),
        }
    }
}

fn left(deadline: Instant, time: Duration) -> Result<Duration, End> {
    let left = deadline.checked_duration_since(Instant::now());
    left.filter(|left| !left.is_zero()).ok_or(End::Slow(time))
}

fn timely(error: io::Error, time: Duration) -> End {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => End::Slow(time),
        _ => End::Socket(error),
    }
}

/// What has been read and belongs to nobody yet.
#[derive(Debug)]
struct Inbox {
    carry: Vec<u8>,
    /// Nothing more is read.
    end: Option<End>,
}

/// Ends a connection whose device panics: a request without an answer would keep its client waiting for ever.
struct HangUp<'a>(&'a Socket);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.shutdown(Shutdown::Both);
        }
    }
}

struct Connection<'a> {
    channel: &'a Channel,
    session: Session,
    bounds: Bounds,
    inbox: Mutex<Inbox>,
    outbox: Mutex<()>,
    /// Bytes of payload of batches that are being worked on.
    in_flight: AtomicU64,
    threads: AtomicUsize,
    /// Threads that wait for the inbox.
    waiting: AtomicUsize,
    /// Batches in a row over which the device took long.
    slow: AtomicUsize,
}

impl<'a> Connection<'a> {
    fn new(channel: &'a Channel, session: Session, early: Vec<u8>, bounds: Bounds) -> Self {
        Self {
            channel,
            session,
            bounds,
            inbox: Mutex::new(Inbox {
                carry: early,
                end: None,
            }),
            outbox: Mutex::new(()),
            in_flight: AtomicU64::new(0),
            threads: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            slow: AtomicUsize::new(0),
        }
    }

    fn end(self) -> End {
        let inbox = self.inbox.into_inner();
        let end = inbox.unwrap_or_else(PoisonError::into_inner).end;
        end.unwrap_or(End::Gone { cut: false })
    }

    /// What each thread does until the connection ends. Orderings are relaxed: the counters are guesses at whether another thread
    /// is worth its while, and the locks order everything else.
    fn work<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        let _hang_up = HangUp(self.channel.socket());
        let mut batch = Batch::new(&self.session);
        loop {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let inbox = self.inbox.lock();
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let mut inbox = inbox.unwrap_or_else(PoisonError::into_inner);
            if inbox.end.is_some() {
                return;
            }
            let slow = self.slow.load(Ordering::Relaxed) >= SLOW_BATCHES;
            let more = self.fill(&mut inbox, &mut batch) && slow;
            let weight = batch.weight();
            let before = self.in_flight.fetch_add(weight, Ordering::Relaxed);
            let room = before + weight < self.bounds.in_flight;
            // With the inbox kept, nothing more is read, and nobody is woken.
            let kept = Some(inbox).filter(|_| !(more && room && self.has_helper(scope)));
            let sent = self.answer(&mut batch);
            drop(kept);
            self.in_flight.fetch_sub(weight, Ordering::Relaxed);
            batch.shrink();
            if sent.is_err() {
                // Whoever reads learns of it by reading.
                self.channel.socket().shutdown(Shutdown::Both);
            }
        }
    }

    /// Lets the device work on a batch, sends the replies, and notes how long the device took.
    fn answer(&self, batch: &mut Batch) -> io::Result<()> {
        let begun = Instant::now();
        let mut sending = Duration::ZERO;
        let sent = batch.execute(&self.session, |replies| {
            let begun = Instant::now();
            let _order = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = self.channel.write(replies);
            sending += begun.elapsed();
            sent
        });
        if begun.elapsed().saturating_sub(sending) >= HAND_OVER {
            self.slow.fetch_add(1, Ordering::Relaxed);
        } else {
            self.slow.store(0, Ordering::Relaxed);
        }
        sent
    }

    /// Whether another thread reads on when the inbox is left.
    fn has_helper<'s>(&'s self, scope: &'s Scope<'s, '_>) -> bool {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return true;
        }
        let most = self.bounds.threads;
        if self.threads.load(Ordering::Relaxed) >= most {
            // All others are at work; whoever is done first reads.
            return most > 1;
        }
        self.threads.fetch_add(1, Ordering::Relaxed);
        let helper = std::thread::Builder::new().name("nbd-helper".into());
        let spawned = helper.spawn_scoped(scope, || self.work(scope));
        spawned.is_ok()
    }

    /// Reads until there is a whole request, and takes as many as make a batch. Returns whether another thread would have
    /// something to do meanwhile, or others' requests would wait for long.
    fn fill(&self, inbox: &mut Inbox, batch: &mut Batch) -> bool {
        batch.begin(&inbox.carry);
        let next = loop {
            let next = batch.cut(&self.session);
            let Next::Part(wanted) = next else {
                break next;
            };
            if !batch.is_empty() {
                break next;
            }
            match self.channel.read(batch.room(wanted)) {
                Ok(len) if len > 0 => batch.read(len),
                Ok(_) => {
                    let cut = !batch.rest().is_empty();
                    inbox.end = Some(End::Gone { cut });
                    return false;
                }
                Err(error) => {
                    inbox.end = Some(error.into());
                    return false;
                }
            }
        };
        inbox.carry.clear();
        inbox.carry.extend_from_slice(batch.rest());
        match next {
            Next::Full => true,
            Next::Part(_) => batch.is_heavy(),
            Next::Goodbye => {
                inbox.end = Some(End::Goodbye);
                false
            }
            Next::Broken(violation) => {
                inbox.end = Some(violation.into());
                false
            }
        }
    }
}
