//! Whole requests, cut from the bytes that were read, and their replies.
//!
//! Data model: `bytes -> one buffer -> requests, or pieces of large ones, with their payloads ->
//! replies`. The buffers of a batch have a fixed size, whatever the length of a request:
//! [`INPUT_BYTES`] for the bytes read, and [`REPLY_BYTES`] for replies. A large reply that must not
//! be split gets one more buffer, if that is lent.

use crate::lender::Account;
use crate::pieces::{Job, PIECE, PIECE_BYTES, Pieces};
use crate::proto::{Command, Head, Mode, Replies, Violation};
use crate::service_time::{FULL_REQUESTS, ServiceTime};
use crate::session::Session;
use std::collections::TryReserveError;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

mod large;
#[cfg(test)]
mod tests;
mod unanswered;

use large::{read_piece, read_unbroken};
pub(crate) use unanswered::Unanswered;

/// The bytes of the input buffer: one piece of a large request, and the heads of requests.
const INPUT_BYTES: usize = PIECE_BYTES + (4 << 10);
/// The bytes of the reply buffer: those of a full batch, and one more reply. The longest reply has
/// 4096 extents in each of two contexts.
const REPLY_BYTES: usize = 2 * INPUT_BYTES;
/// A batch is full with this many bytes of payload, in and out.
const FULL_BYTES: u64 = 64 << 10;
/// The bytes of both buffers of a batch.
pub(crate) const BATCH_BYTES: usize = INPUT_BYTES + REPLY_BYTES;

/// The reason why a batch ends, and the state of the bytes behind it.
#[derive(Debug)]
pub(crate) enum Next {
    /// The batch is full.
    Full,
    /// A part of a request follows, or nothing.
    Part,
    /// The client ends the connection.
    Goodbye,
    /// The bytes that follow are no request.
    Broken(Violation),
    /// No more bytes come; `cut` if the last request is not whole.
    Gone { cut: bool },
}

/// The number of a connection's threads, and the device's service time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crew<'a> {
    pub(crate) service_time: &'a ServiceTime,
    pub(crate) threads: usize,
}

/// The bytes that were read but not cut into requests, handed to the next thread that reads.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
    pieces: Option<Pieces>,
    /// The time at which the first bytes of an unfinished request came, if its reader gave up.
    begun: Option<Instant>,
}

impl Carry {
    /// Makes a carry of the bytes that followed a handshake.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            pieces: None,
            begun: None,
        }
    }
}

/// A request, or a piece of a large one.
#[derive(Debug)]
struct Request {
    head: Head,
    payload: Range<usize>,
    job: Option<Arc<Job>>,
}

/// Requests, with their payloads in the input buffer, and their replies.
#[derive(Debug)]
pub(crate) struct Batch {
    account: Account,
    input: Vec<u8>,
    /// The range of the bytes in `input` that were not cut into requests yet.
    begin: usize,
    end: usize,
    /// The rest of a large request whose head was cut already.
    pieces: Option<Pieces>,
    /// The time at which the first bytes of an unfinished request came, if reading it failed.
    begun: Option<Instant>,
    requests: Vec<Request>,
    weight: u64,
    long: bool,
    replies: Replies,
}

impl Batch {
    /// Makes an empty batch with all its buffers.
    pub(crate) fn new(mode: Mode, account: Account) -> Result<Self, TryReserveError> {
        Ok(Self {
            account,
            input: zeroed(INPUT_BYTES)?,
            begin: 0,
            end: 0,
            pieces: None,
            begun: None,
            requests: Vec::new(),
            weight: 0,
            long: false,
            replies: Replies::new(mode, REPLY_BYTES)?,
        })
    }

    /// Takes the bytes that another batch unloaded, or that followed a handshake. Both fit into the
    /// input buffer.
    pub(crate) fn load(&mut self, carry: &mut Carry) {
        self.input[..carry.bytes.len()].copy_from_slice(&carry.bytes);
        (self.begin, self.end) = (0, carry.bytes.len());
        carry.bytes.clear();
        self.pieces = carry.pieces.take();
        self.begun = carry.begun.take();
    }

    /// Moves the bytes behind the requests into `carry`, if there is memory for them.
    pub(crate) fn unload(&mut self, carry: &mut Carry) -> Result<(), TryReserveError> {
        let rest = &self.input[self.begin..self.end];
        carry.bytes.try_reserve_exact(rest.len())?;
        carry.bytes.extend_from_slice(rest);
        self.end = self.begin;
        carry.pieces = self.pieces.take();
        carry.begun = self.begun.take();
        Ok(())
    }

    /// Reads until there is a whole request, or a piece of a large one, then cuts off as many as a
    /// batch holds. `read` gets the time at which the first bytes of the unfinished request came,
    /// if there is one. It returns the number of bytes read, 0 at the end. After an error, `fill`
    /// may be called again.
    pub(crate) fn fill<E>(
        &mut self,
        session: &Session,
        crew: Crew<'_>,
        mut read: impl FnMut(&mut [u8], Option<Instant>) -> Result<usize, E>,
    ) -> Result<Next, E> {
        self.requests.clear();
        self.weight = 0;
        self.long = false;
        let mut begun = self.begun.take();
        loop {
            let most = self.share(session, crew);
            if let Err(next) = self.cut(session, most) {
                return Ok(next);
            }
            if !self.requests.is_empty() {
                return Ok(Next::Part);
            }
            let cut = self.end > self.begin || self.pieces.is_some();
            if cut && begun.is_none() {
                begun = Some(Instant::now());
            }
            if self.begin > 0 {
                self.input.copy_within(self.begin..self.end, 0);
                self.end -= self.begin;
                self.begin = 0;
            }
            let len = read(&mut self.input[self.end..], begun).inspect_err(|_| {
                self.begun = begun;
            })?;
            if len == 0 {
                return Ok(Next::Gone { cut });
            }
            self.end += len;
        }
    }

    /// Cuts whole requests off the front of the input, until the next one is not whole. Returns the
    /// reason as an error if the batch ends before that.
    fn cut(&mut self, session: &Session, most: usize) -> Result<(), Next> {
        loop {
            if let Some(pieces) = &self.pieces {
                let payload = pieces.payload();
                let Some(piece) = pieces.next() else {
                    self.pieces = None;
                    continue;
                };
                if self.end - self.begin < payload {
                    return Ok(());
                }
                self.room_for(session, &piece, most)?;
                if let Some((piece, job)) = self.pieces.as_mut().and_then(Pieces::take) {
                    self.take(session, piece, payload, Some(job));
                }
                continue;
            }
            match measure(session, &self.input[self.begin..self.end])? {
                Measure::Part => return Ok(()),
                Measure::Large(head, carries) => {
                    self.begin += Head::len(session.mode());
                    self.pieces = Some(Pieces::new(head, carries, session.check(&head)));
                }
                Measure::Whole(head, payload) => {
                    self.room_for(session, &head, most)?;
                    self.begin += Head::len(session.mode());
                    self.take(session, head, payload, None);
                }
            }
        }
    }

    /// Checks that one more request fits into the batch.
    fn room_for(&self, session: &Session, head: &Head, most: usize) -> Result<(), Next> {
        let begun = !self.requests.is_empty();
        let full = self.weight >= FULL_BYTES || self.requests.len() >= most;
        if full || self.long || (begun && session.may_take_long(head)) {
            return Err(Next::Full);
        }
        Ok(())
    }

    fn take(&mut self, session: &Session, head: Head, payload: usize, job: Option<Arc<Job>>) {
        self.weight += session.weight(&head);
        self.long = session.may_take_long(&head);
        let payload = self.begin..self.begin + payload;
        self.begin = payload.end;
        self.requests.push(Request { head, payload, job });
    }

    /// Returns the most requests for this batch.
    fn share(&self, session: &Session, crew: Crew<'_>) -> usize {
        if self.pieces.is_some() || !crew.service_time.is_long(FULL_REQUESTS) {
            return FULL_REQUESTS;
        }
        let mut rest = &self.input[self.begin..self.end];
        let mut waiting = 0;
        while let Ok(Measure::Whole(_, payload)) = measure(session, rest) {
            waiting += 1;
            rest = &rest[Head::len(session.mode()) + payload..];
        }
        crew.service_time.share(waiting, crew.threads)
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Returns the bytes of payload, in and out.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Says whether the device may take long for this batch, whatever its usual service time.
    pub(crate) fn is_long(&self) -> bool {
        self.long
    }

    /// Executes all requests on the device. Passes the replies to `send`, when they are many and at
    /// the end, and tells it whether the next bytes must follow directly. After an error the rest
    /// is not executed. The thread yields between pieces of large requests. Otherwise large
    /// requests of many clients would take all CPUs from clients with small ones.
    pub(crate) fn execute<E>(
        &mut self,
        session: &Session,
        mut send: impl FnMut(&[u8], bool) -> Result<(), E>,
    ) -> Result<(), Unanswered<E>> {
        let replies = &mut self.replies;
        replies.clear();
        let mut flush = |replies: &mut Replies, more: bool| {
            let sent = match replies.bytes() {
                [] if !more => Ok(()),
                bytes => send(bytes, more),
            };
            replies.clear();
            sent.map_err(Unanswered::Unsent)
        };
        for Request { head, payload, job } in &self.requests {
            let payload = &self.input[payload.clone()];
            let expected = session.answer_len(head);
            if replies.bytes().len() + expected > INPUT_BYTES {
                flush(replies, false)?;
            }
            match job {
                Some(job) if head.command == Command::Read => {
                    let done = read_piece(session, job, head, replies);
                    // Sent before the piece is noted: after that, another thread may send the end
                    // of the reply.
                    flush(replies, false)?;
                    std::thread::yield_now();
                    if let Some(outcome) = job.note(head.length, done) {
                        session.finish(job.head(), outcome, replies);
                    }
                }
                Some(job) => {
                    let writes = head.command == Command::Write && !job.has_failed();
                    let device = session.device();
                    let done = writes.then(|| device.write(head.offset, payload));
                    std::thread::yield_now();
                    if let Some(outcome) = job.note(head.length, done.unwrap_or(Ok(()))) {
                        session.finish(job.head(), outcome, replies);
                    }
                }
                None if expected > INPUT_BYTES && session.check(head).is_ok() => {
                    let loan = self.account.lend(expected.div_ceil(BATCH_BYTES));
                    let lent = loan
                        .as_ref()
                        .and_then(|_| Replies::new(session.mode(), expected).ok());
                    match lent {
                        Some(mut large) => {
                            session.execute(head, payload, &mut large);
                            flush(&mut large, false)?;
                        }
                        None => read_unbroken(session, head, replies, &mut flush)?,
                    }
                }
                None => session.execute(head, payload, replies),
            }
            if replies.bytes().len() as u64 >= FULL_BYTES {
                flush(replies, false)?;
            }
        }
        flush(replies, false)
    }
}

/// Returns a vector of `len` zeroes, if there is memory for it.
pub(crate) fn zeroed(len: usize) -> Result<Vec<u8>, TryReserveError> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// The kind of request at the front of some bytes.
enum Measure {
    /// A part of a request.
    Part,
    /// The head of a request that is executed in pieces, and whether it has a payload.
    Large(Head, bool),
    /// A whole request, and the length of its payload in bytes.
    Whole(Head, usize),
}

fn measure(session: &Session, bytes: &[u8]) -> Result<Measure, Next> {
    let mode = session.mode();
    let Some(head) = Head::parse(mode, bytes).map_err(Next::Broken)? else {
        return Ok(Measure::Part);
    };
    if head.command == Command::Disconnect {
        return Err(Next::Goodbye);
    }
    let most = session.device().block_sizes().maximum;
    let payload = head.payload(mode, most).map_err(Next::Broken)?;
    let reads = head.command == Command::Read && payload == 0;
    let many = reads && head.length > PIECE && !session.is_unbroken(&head);
    if payload as u64 > PIECE || (many && session.check(&head).is_ok()) {
        return Ok(Measure::Large(head, payload > 0));
    }
    if bytes.len() < Head::len(mode) + payload {
        return Ok(Measure::Part);
    }
    Ok(Measure::Whole(head, payload))
}
