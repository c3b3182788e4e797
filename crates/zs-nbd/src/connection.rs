//! One connection: the handshake, then batches of requests.
//!
//! Data model: `socket -> batch of whole requests -> device -> replies -> socket`. A payload is
//! read from the socket to where the device takes it from, and by the device to where it is sent
//! from.
//!
//! A thread reads what has arrived, takes a batch of whole requests, and, if the device is slow,
//! leaves reading to the next thread while it works. With one quick request in flight nothing is
//! ever handed over. Replies are sent a batch at a time, in any order. See
//! `docs/decisions/0022-nbd-event-loop.md`. The first thread has buffers of the connection's own;
//! those of others are lent, see `docs/decisions/0027-shares-of-clients.md`.
//!
//! # Locking
//! `inbox`: a turn, had while reading, and, if nothing else is there to do, while working. The
//! channel's locks come after it.

use crate::batch::{Batch, Carry, Unanswered};
use crate::channel::Channel;
use crate::close_reason::CloseReason;
use crate::guest::Guest;
use crate::handshake::Lobby;
use crate::lender::{Account, Lender, Loan};
use crate::proto::Wish;
use crate::service_time::ServiceTime;
use crate::session::Session;
use crate::socket::Socket;
use crate::turn::{Held, Turn};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Scope;
use std::time::{Duration, Instant};

mod reading;
#[cfg(test)]
mod tests;

/// How long a thread with borrowed buffers waits, for its turn or for its client, before it gives
/// them back.
const LINGER: Duration = Duration::from_secs(1);

/// The bounds of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) handshake: Duration,
    /// Of TCP alone.
    pub(crate) request: Duration,
    pub(crate) idle: Option<Duration>,
    pub(crate) in_flight: u64,
    pub(crate) threads: usize,
    pub(crate) lender: Arc<Lender>,
}

/// The owner of the places in service.
pub(crate) trait Door {
    /// Lets the client in, or says why not. Another one may have to go for it.
    fn admit(&self) -> Result<(), CloseReason>;
    /// A client that was not let in was told why.
    fn denied(&self, why: CloseReason);
}

/// Serves a connection to its end, whose handshake begins in `lobby`.
pub(crate) fn serve(
    mut channel: Channel,
    mut lobby: Lobby<'_>,
    bounds: &Bounds,
    guest: &Guest,
    door: &impl Door,
) -> CloseReason {
    let end = receive(&mut channel, &mut lobby, bounds, guest, door);
    let end = end.unwrap_or_else(|end| end);
    channel.close(!matches!(end, CloseReason::Goodbye));
    end
}

/// Asks for the client's wish, until one is granted and has come to its end.
fn receive(
    channel: &mut Channel,
    lobby: &mut Lobby<'_>,
    bounds: &Bounds,
    guest: &Guest,
    door: &impl Door,
) -> Result<CloseReason, CloseReason> {
    while let Some(wish) = lobby.next(channel)? {
        match attend(channel, lobby, &wish, (bounds, guest, door)) {
            Served::ToItsEnd(end) => return end,
            Served::Not(why) => door.denied(lobby.deny(channel, &wish, why)?),
        }
    }
    Ok(CloseReason::Goodbye)
}

/// The outcome of a client's wish.
enum Served {
    /// It was told that it may begin, and has come to its end.
    ToItsEnd(Result<CloseReason, CloseReason>),
    /// It was not told so.
    Not(CloseReason),
}

/// Serves a client that the device takes, if there is memory and a place for it.
///
/// The place comes last before the answer: somebody else may have to go for it, and nobody shall go
/// for a client that cannot be served.
fn attend<D: Door>(
    channel: &Channel,
    lobby: &mut Lobby<'_>,
    wish: &Wish,
    (bounds, guest, door): (&Bounds, &Guest, &D),
) -> Served {
    let export = &wish.agreement.export;
    let mut served = None;
    let attached = export.device().attached(&mut || {
        let account = bounds.lender.account(guest.origin.peer(), guest.number);
        let batch = Batch::new(wish.agreement.mode, account.clone());
        let prepared = batch.map_err(|_| CloseReason::NoMemory);
        let admitted = prepared.and_then(|batch| door.admit().map(|()| batch));
        served = Some(match admitted {
            Err(why) => Served::Not(why),
            Ok(batch) => {
                let converse = || {
                    // Before the answer: who has it is listed with its export.
                    guest.got(export.name());
                    let (session, early) = begin(channel, lobby, wish, bounds)?;
                    guest.touch();
                    let of = (bounds, guest, account);
                    let connection = Connection::new(channel, session, early, of);
                    std::thread::scope(|scope| connection.work(scope, batch, None));
                    Ok(connection.end())
                };
                Served::ToItsEnd(converse())
            }
        });
    });
    match (served, attached) {
        (Some(served), _) => served,
        (None, Err(errno)) => Served::Not(CloseReason::KeptOut(errno)),
        // A device that did not call it has no use for the client.
        (None, Ok(())) => Served::ToItsEnd(Ok(CloseReason::Gone { cut: false })),
    }
}

/// Tells a client that it may begin. Returns its session, and what it sent beyond the handshake.
fn begin(
    channel: &Channel,
    lobby: &mut Lobby<'_>,
    wish: &Wish,
    bounds: &Bounds,
) -> Result<(Session, Vec<u8>), CloseReason> {
    let granted = lobby.grant(channel, wish)?;
    let looks = channel.look_up_every(bounds.idle);
    looks.map_err(|error| CloseReason::of(error, bounds.handshake))?;
    Ok(granted)
}

/// Bytes that were read, and that no thread has taken.
#[derive(Debug)]
struct Inbox {
    carry: Carry,
    /// Nothing more is read.
    end: Option<CloseReason>,
    /// A thread that reads at a unix socket looks up after [`LINGER`], and not only when the
    /// client is idle for too long.
    restless: bool,
}

/// Ends a connection whose device panics: a request without an answer would keep its client waiting
/// for ever.
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
    bounds: &'a Bounds,
    guest: &'a Guest,
    account: Account,
    inbox: Turn<Inbox>,
    /// Why nothing more is answered: then nothing more is done.
    failure: OnceLock<CloseReason>,
    /// Bytes of payload of batches that are being worked on.
    in_flight: AtomicU64,
    /// Threads that have a batch.
    working: AtomicUsize,
    threads: AtomicUsize,
    service_time: ServiceTime,
}

impl<'a> Connection<'a> {
    fn new(
        channel: &'a Channel,
        session: Session,
        early: Vec<u8>,
        (bounds, guest, account): (&'a Bounds, &'a Guest, Account),
    ) -> Self {
        Self {
            channel,
            session,
            bounds,
            guest,
            account,
            inbox: Turn::new(Inbox {
                carry: Carry::new(early),
                end: None,
                restless: false,
            }),
            failure: OnceLock::new(),
            in_flight: AtomicU64::new(0),
            working: AtomicUsize::new(0),
            threads: AtomicUsize::new(1),
            service_time: ServiceTime::default(),
        }
    }

    fn end(self) -> CloseReason {
        let inbox = self.inbox.into_inner();
        let end = self.failure.into_inner().or(inbox.end);
        end.unwrap_or(CloseReason::Gone { cut: false })
    }

    /// What each thread does until the connection ends, or nothing is left to do for buffers that
    /// are lent. Orderings are relaxed: the counters are guesses at whether another thread is worth
    /// its while, and the locks order everything else.
    fn work<'s>(&'s self, scope: &'s Scope<'s, '_>, mut batch: Batch, loan: Option<Loan>) {
        let _hang_up = HangUp(self.channel.socket());
        let mut kept = None;
        loop {
            let held = kept
                .take()
                .or_else(|| self.take_inbox(&mut batch, loan.as_ref()));
            let Some(mut inbox) = held else {
                self.threads.fetch_sub(1, Ordering::Relaxed);
                return;
            };
            if inbox.end.is_some() || self.failure.get().is_some() {
                return;
            }
            if self.fill(&mut inbox, &mut batch, loan.is_some()).is_break() {
                self.threads.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let weight = batch.weight();
            self.guest.asked(batch.len() as u64, weight);
            let before = self.in_flight.fetch_add(weight, Ordering::Relaxed);
            self.working.fetch_add(1, Ordering::Relaxed);
            let room = before + weight < self.bounds.in_flight;
            let long = batch.is_long() || self.service_time.is_long(batch.len());
            let helped = long && room && inbox.end.is_none() && self.may_have_helper();
            if helped && batch.unload(&mut inbox.carry).is_ok() {
                drop(inbox);
                self.call_helper(scope);
            } else {
                // Nothing more is read, and nobody is woken.
                kept = Some(inbox);
            }
            self.answer(&mut batch);
            self.working.fetch_sub(1, Ordering::Relaxed);
            self.in_flight.fetch_sub(weight, Ordering::Relaxed);
        }
    }

    /// Waits until reading is this thread's; or until what it works with is due.
    fn take_inbox(&self, batch: &mut Batch, loan: Option<&Loan>) -> Option<Held<'_, Inbox>> {
        if loan.is_some_and(Loan::is_due) {
            return None;
        }
        let mut inbox = self.inbox.take(loan.map(|_| LINGER))?;
        batch.load(&mut inbox.carry);
        Some(inbox)
    }

    /// Lets the device work on a batch, sends the replies, and notes how long the device took.
    ///
    /// A reply that cannot be sent whole ends the connection, before another thread can send: the
    /// client would take that for the rest of it.
    fn answer(&self, batch: &mut Batch) {
        let begun = Instant::now();
        let mut sending = Duration::ZERO;
        let mut sender = None;
        // Dropped before the sender, like what it does below.
        let _hang_up = HangUp(self.channel.socket());
        let done = batch.execute(&self.session, |replies, more| {
            let begun = Instant::now();
            let deadline = self.patience().map(|time| begun + time);
            let wire = sender.get_or_insert_with(|| self.channel.sender());
            if self.failure.get().is_some() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            let sent = wire.write(replies, deadline);
            // After a part of a reply nobody else sends.
            if !more && sent.is_ok() {
                sender = None;
            }
            self.guest.touch();
            sending += begun.elapsed();
            sent
        });
        if !batch.is_long() {
            let took = begun.elapsed().saturating_sub(sending);
            self.service_time.note(took, batch.len());
        }
        if let Err(why) = done {
            let end = match why {
                Unanswered::Unsent(error) => {
                    CloseReason::of(error, self.patience().unwrap_or(self.bounds.request))
                }
                Unanswered::Failed(errno) => CloseReason::Failed(errno),
            };
            // The first one is told. Whoever reads learns of it by reading.
            let _ = self.failure.set(end);
            self.channel.socket().shutdown(Shutdown::Both);
        }
        drop(sender);
    }

    /// Returns how long a client gets for what it has to take, or to send, at once. A unix socket's
    /// takes nothing from others meanwhile.
    fn patience(&self) -> Option<Duration> {
        let tcp = (!self.channel.socket().is_unix()).then_some(self.bounds.request);
        [tcp, self.bounds.idle].into_iter().flatten().min()
    }

    /// Says whether another thread may read on when the inbox is left.
    fn may_have_helper(&self) -> bool {
        let most = self.bounds.threads;
        most > 1 && (self.inbox.is_awaited() || self.threads.load(Ordering::Relaxed) <= most)
    }

    /// Sees to it that another thread reads on, if there can be one; if not, whoever is done first
    /// does.
    fn call_helper<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        if self.inbox.is_wanted() {
            return;
        }
        if self.threads.fetch_add(1, Ordering::Relaxed) < self.bounds.threads
            && let Some(loan) = self.account.lend(1)
            && let Ok(batch) = Batch::new(self.session.mode(), self.account.clone())
        {
            let helper = std::thread::Builder::new().name("nbd-helper".into());
            let spawned = helper.spawn_scoped(scope, || self.work(scope, batch, Some(loan)));
            if spawned.is_ok() {
                return;
            }
        }
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }
}
