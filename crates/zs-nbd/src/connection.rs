//! One connection: the handshake, then batches of requests.
//!
//! Data model: `socket -> batch of whole requests -> device -> replies -> socket`. A payload is read from the socket to where the
//! device takes it from, and by the device to where it is sent from.
//!
//! A thread reads what has arrived, takes a batch of whole requests, and, if the device is slow, leaves reading to the next thread
//! while it works. With one quick request in flight nothing is ever handed over. Replies are sent a batch at a time, in any order.
//! See `docs/decisions/0022-nbd-event-loop.md`.
//!
//! # Locking
//! `inbox`: held while reading, and, if nothing else is there to do, while working. The channel's locks come after it.

use crate::batch::{Batch, Crew, Next};
use crate::budget::Budget;
use crate::channel::Channel;
use crate::end::End;
use crate::export::Exports;
use crate::handshake::shake_hands;
use crate::pace::Pace;
use crate::refusals::Refusals;
use crate::session::Session;
use crate::socket::Socket;
use crate::tls::Tls;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// What a connection may take.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) handshake: Duration,
    pub(crate) request: Duration,
    pub(crate) in_flight: u64,
    pub(crate) threads: usize,
    pub(crate) budget: Arc<Budget>,
}

/// Serves a connection to its end. Once its handshake is over, `admit` says whether there is a
/// place for it. What the client is refused, `refusals` tells.
pub(crate) fn serve(
    mut channel: Channel,
    exports: &Exports,
    tls: Option<&Tls>,
    bounds: Bounds,
    refusals: Refusals,
    admit: impl FnOnce() -> Result<(), End>,
) -> End {
    let agreed = shake_hands(&mut channel, exports, tls, refusals, bounds.handshake);
    let agreed = agreed.and_then(|agreed| {
        admit()?;
        let looks = channel.look_up_every(bounds.request);
        looks.map_err(|error| End::of(error, bounds.request))?;
        Ok(agreed)
    });
    let end = match agreed {
        Ok(Some((session, early))) => {
            let connection = Connection::new(&channel, session, early, bounds);
            let attached = connection.session.device().attached(&mut || {
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
    channel.close(!matches!(end, End::Goodbye));
    end
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
    /// Why replies could not be sent: nothing more is done.
    failure: OnceLock<io::Error>,
    /// Bytes of payload of batches that are being worked on.
    in_flight: AtomicU64,
    threads: AtomicUsize,
    /// Threads that wait for the inbox.
    waiting: AtomicUsize,
    pace: Pace,
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
            failure: OnceLock::new(),
            in_flight: AtomicU64::new(0),
            threads: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            pace: Pace::default(),
        }
    }

    fn end(self) -> End {
        if let Some(error) = self.failure.into_inner() {
            return End::of(error, self.bounds.request);
        }
        let inbox = self.inbox.into_inner();
        let end = inbox.unwrap_or_else(PoisonError::into_inner).end;
        end.unwrap_or(End::Gone { cut: false })
    }

    /// What each thread does until the connection ends. Orderings are relaxed: the counters are guesses at whether another thread
    /// is worth its while, and the locks order everything else.
    fn work<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        let _hang_up = HangUp(self.channel.socket());
        let mut batch = Batch::new(&self.session, Arc::clone(&self.bounds.budget));
        let mut kept = None;
        loop {
            let mut inbox = kept.take().unwrap_or_else(|| self.take_inbox(&mut batch));
            if inbox.end.is_some() || self.failure.get().is_some() {
                return;
            }
            self.fill(&mut inbox, &mut batch);
            let weight = batch.weight();
            let before = self.in_flight.fetch_add(weight, Ordering::Relaxed);
            let room = before + weight < self.bounds.in_flight;
            let long = batch.is_long() || self.pace.is_long(batch.len());
            if long && room && inbox.end.is_none() && self.has_helper(scope) {
                batch.unload(&mut inbox.carry);
                drop(inbox);
            } else {
                // Nothing more is read, and nobody is woken.
                kept = Some(inbox);
            }
            let sent = self.answer(&mut batch);
            self.in_flight.fetch_sub(weight, Ordering::Relaxed);
            if let Err(error) = sent {
                // The first one is told. Whoever reads learns of it by reading.
                let _ = self.failure.set(error);
                self.channel.socket().shutdown(Shutdown::Both);
            }
        }
    }

    /// Waits until reading is this thread's.
    fn take_inbox(&self, batch: &mut Batch) -> MutexGuard<'_, Inbox> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let inbox = self.inbox.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut inbox = inbox.unwrap_or_else(PoisonError::into_inner);
        batch.load(&mut inbox.carry);
        inbox
    }

    /// Lets the device work on a batch, sends the replies, and notes how long the device took.
    fn answer(&self, batch: &mut Batch) -> io::Result<()> {
        let begun = Instant::now();
        let mut sending = Duration::ZERO;
        let sent = batch.execute(&self.session, |replies| {
            let begun = Instant::now();
            let sent = self.channel.write(replies, begun + self.bounds.request);
            sending += begun.elapsed();
            sent
        });
        if !batch.is_long() {
            let took = begun.elapsed().saturating_sub(sending);
            self.pace.note(took, batch.len());
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

    /// Reads until there is a whole request, and takes as many as make a batch.
    fn fill(&self, inbox: &mut Inbox, batch: &mut Batch) {
        let time = self.bounds.request;
        let crew = Crew {
            pace: &self.pace,
            threads: self.bounds.threads,
        };
        let next = batch.fill(&self.session, crew, |buf, begun| {
            self.channel.read(buf, begun.map(|begun| begun + time))
        });
        inbox.end = match next {
            Ok(Next::Full | Next::Part) => None,
            Ok(Next::Goodbye) => Some(End::Goodbye),
            Ok(Next::Broken(violation)) => Some(violation.into()),
            Ok(Next::Gone { cut }) => Some(End::Gone { cut }),
            Ok(Next::NoMemory) => Some(End::NoMemory),
            Err(error) => Some(End::of(error, time)),
        };
    }
}
