//! One connection: the handshake, then batches of requests.
//!
//! Data model: `socket -> batch of whole requests -> device -> replies -> socket`. A payload is not
//! copied: it is read from the socket into the buffer that the device writes from, and by the
//! device into the buffer that the reply is sent from.
//!
//! A thread reads the bytes that have arrived and takes a batch of whole requests. If the device is
//! slow, it lets another thread read on while it works. With one quick request in flight, no thread
//! ever hands over to another. Replies are sent a batch at a time, in any order. See
//! `docs/decisions/0022-nbd-event-loop.md`. The first thread uses buffers of the connection; the
//! buffers of further threads are lent, see `docs/decisions/0027-shares-of-clients.md`.
//!
//! # Locking
//! `inbox` is a turn. A thread has it while it reads, and also while it works if no other thread is
//! needed to read. The channel's locks are taken after it.

use crate::batch::{Batch, Carry, Unanswered};
use crate::channel::Channel;
use crate::client::Client;
use crate::close_reason::CloseReason;
use crate::handshake::SocketHandshake;
use crate::lender::{Account, Lender, Loan};
use crate::proto::Wish;
use crate::service_time::ServiceTime;
use crate::session::Session;
use crate::socket::Socket;
use crate::turn::{Turn, TurnGuard};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Scope;
use std::time::{Duration, Instant};

mod reading;
#[cfg(test)]
mod tests;

/// The time that a thread with borrowed buffers waits, for its turn or for its client, before it
/// gives the buffers back.
const LINGER: Duration = Duration::from_secs(1);

/// The limits of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) handshake: Duration,
    /// For TCP only.
    pub(crate) request: Duration,
    pub(crate) idle: Option<Duration>,
    pub(crate) in_flight: u64,
    pub(crate) threads: usize,
    pub(crate) lender: Arc<Lender>,
}

/// Gives places in service to clients.
pub(crate) trait Admission {
    /// Gives the client a place in service, or returns the reason for refusing it. Another client
    /// may be displaced for it.
    fn admit(&self) -> Result<(), CloseReason>;
    /// Notes that a client was told why it is not served.
    fn denied(&self, why: CloseReason);
}

/// Serves a connection from its handshake to its end. Returns the reason for the end.
pub(crate) fn serve(
    mut channel: Channel,
    mut handshake: SocketHandshake<'_>,
    bounds: &Bounds,
    client: &Client,
    admission: &impl Admission,
) -> CloseReason {
    let end = receive(&mut channel, &mut handshake, bounds, client, admission);
    let end = end.unwrap_or_else(|end| end);
    channel.close(!matches!(end, CloseReason::Goodbye));
    end
}

/// Takes the client's wishes until one is granted, and serves that one to its end.
fn receive(
    channel: &mut Channel,
    handshake: &mut SocketHandshake<'_>,
    bounds: &Bounds,
    client: &Client,
    admission: &impl Admission,
) -> Result<CloseReason, CloseReason> {
    while let Some(wish) = handshake.next(channel)? {
        match attend(channel, handshake, &wish, (bounds, client, admission)) {
            Served::ToItsEnd(end) => return end,
            Served::Not(why) => admission.denied(handshake.deny(channel, &wish, why)?),
        }
    }
    Ok(CloseReason::Goodbye)
}

/// The outcome of one wish of a client.
enum Served {
    /// The wish was granted, and the connection has ended.
    ToItsEnd(Result<CloseReason, CloseReason>),
    /// The wish was not granted.
    Not(CloseReason),
}

/// Serves a client if the device accepts it and there are memory and a place for it.
///
/// The place is taken last, just before the answer: another client may be displaced for it, and
/// none should be displaced for a client that cannot be served.
fn attend<D: Admission>(
    channel: &Channel,
    handshake: &mut SocketHandshake<'_>,
    wish: &Wish,
    (bounds, client, admission): (&Bounds, &Client, &D),
) -> Served {
    let export = &wish.agreement.export;
    let mut served = None;
    let attached = export.device().attached(&mut || {
        let account = bounds.lender.account(client.origin.peer(), client.number);
        let batch = Batch::new(wish.agreement.mode, account.clone());
        let prepared = batch.map_err(|_| CloseReason::NoMemory);
        let admitted = prepared.and_then(|batch| admission.admit().map(|()| batch));
        served = Some(match admitted {
            Err(why) => Served::Not(why),
            Ok(batch) => {
                let converse = || {
                    // Set before the answer, so that a client that may begin is listed with its
                    // export.
                    client.got(export.name());
                    let (session, early) = begin(channel, handshake, wish, bounds)?;
                    client.touch();
                    let of = (bounds, client, account);
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
        // The device returned without calling the session: it does not want the client.
        (None, Ok(())) => Served::ToItsEnd(Ok(CloseReason::Gone { cut: false })),
    }
}

/// Grants a wish. Returns the session, and the bytes that the client sent after the handshake.
fn begin(
    channel: &Channel,
    handshake: &mut SocketHandshake<'_>,
    wish: &Wish,
    bounds: &Bounds,
) -> Result<(Session, Vec<u8>), CloseReason> {
    let granted = handshake.grant(channel, wish)?;
    let looks = channel.look_up_every(bounds.idle);
    looks.map_err(|error| CloseReason::of(error, bounds.handshake))?;
    Ok(granted)
}

/// The bytes that were read and that no thread has taken yet.
#[derive(Debug)]
struct Inbox {
    carry: Carry,
    /// The reason why nothing more is read, once there is one.
    end: Option<CloseReason>,
    /// A read on a unix socket returns after [`LINGER`] without bytes, and not only when the
    /// client was idle for too long.
    restless: bool,
}

/// Shuts the socket down if its thread panics. Without this, the client would wait for ever for the
/// answer to its request.
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
    client: &'a Client,
    account: Account,
    inbox: Turn<Inbox>,
    /// The reason why no more replies are sent, once there is one. Then no more requests are
    /// executed.
    failure: OnceLock<CloseReason>,
    /// The bytes of payload of the batches in progress.
    in_flight: AtomicU64,
    /// The number of threads with a batch in progress.
    working: AtomicUsize,
    threads: AtomicUsize,
    service_time: ServiceTime,
}

impl<'a> Connection<'a> {
    fn new(
        channel: &'a Channel,
        session: Session,
        early: Vec<u8>,
        (bounds, client, account): (&'a Bounds, &'a Client, Account),
    ) -> Self {
        Self {
            channel,
            session,
            bounds,
            client,
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

    /// Runs the loop of one thread, until the connection ends or the thread's borrowed buffers are
    /// not needed any more. The counters are relaxed: they only help to decide whether another
    /// thread is worthwhile, and the locks order everything else.
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
            self.client.asked(batch.len() as u64, weight);
            let before = self.in_flight.fetch_add(weight, Ordering::Relaxed);
            self.working.fetch_add(1, Ordering::Relaxed);
            let room = before + weight < self.bounds.in_flight;
            let long = batch.is_long() || self.service_time.is_long(batch.len());
            let helped = long && room && inbox.end.is_none() && self.may_have_helper();
            if helped && batch.unload(&mut inbox.carry).is_ok() {
                drop(inbox);
                self.call_helper(scope);
            } else {
                // No other thread is woken, and nothing is read meanwhile.
                kept = Some(inbox);
            }
            self.answer(&mut batch);
            self.working.fetch_sub(1, Ordering::Relaxed);
            self.in_flight.fetch_sub(weight, Ordering::Relaxed);
        }
    }

    /// Waits for the inbox. Returns `None` when this thread's loan must be given back.
    fn take_inbox(&self, batch: &mut Batch, loan: Option<&Loan>) -> Option<TurnGuard<'_, Inbox>> {
        if loan.is_some_and(Loan::is_due) {
            return None;
        }
        let mut inbox = self.inbox.take(loan.map(|_| LINGER))?;
        batch.load(&mut inbox.carry);
        Some(inbox)
    }

    /// Executes a batch on the device, sends the replies, and notes the device's time.
    ///
    /// A reply that cannot be sent whole ends the connection before another thread can send.
    /// Otherwise the client would take the next bytes for the rest of that reply.
    fn answer(&self, batch: &mut Batch) {
        let begun = Instant::now();
        let mut sending = Duration::ZERO;
        let mut sender = None;
        // Dropped before the sender, so that the socket is shut down before another thread can
        // send.
        let _hang_up = HangUp(self.channel.socket());
        let done = batch.execute(&self.session, |replies, more| {
            let begun = Instant::now();
            let deadline = self.patience().map(|time| begun + time);
            let wire = sender.get_or_insert_with(|| self.channel.sender());
            if self.failure.get().is_some() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            let sent = wire.write(replies, deadline);
            // The sender is kept in the middle of a reply, so that no other thread sends.
            if !more && sent.is_ok() {
                sender = None;
            }
            self.client.touch();
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
            // Only the first failure is kept. A thread that reads notices the shutdown.
            let _ = self.failure.set(end);
            self.channel.socket().shutdown(Shutdown::Both);
        }
        drop(sender);
    }

    /// Returns the time that a client gets to send or to receive 128 KiB. A slow client of a unix
    /// socket holds up no other, so only the idle limit counts there.
    fn patience(&self) -> Option<Duration> {
        let tcp = (!self.channel.socket().is_unix()).then_some(self.bounds.request);
        [tcp, self.bounds.idle].into_iter().flatten().min()
    }

    /// Says whether another thread may take the inbox when this one leaves it.
    fn may_have_helper(&self) -> bool {
        let most = self.bounds.threads;
        most > 1 && (self.inbox.is_awaited() || self.threads.load(Ordering::Relaxed) <= most)
    }

    /// Makes sure that another thread takes the inbox: one that waits for it, or a new one if there
    /// are memory and threads left. Otherwise the first thread that finishes its batch takes it.
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
