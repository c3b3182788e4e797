//! Whole requests, cut from what was read, and the replies to them.
//!
//! Data model: `bytes -> one buffer -> requests, or pieces of large ones, with their payloads ->
//! replies`. The buffers of a batch do not grow with the length of a request: [`SMALL`] for what is
//! read, and twice that for replies; another one for a large reply in one piece, if that is lent.

use crate::lender::Account;
use crate::pieces::{Job, PIECE, Pieces};
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

/// Bytes of a buffer: a piece, and heads.
const SMALL: usize = PIECE as usize + (4 << 10);
/// Bytes of the buffer for replies: those that make a batch full, and then one more reply, of which
/// the longest are 4096 extents in each of two contexts.
const ROOM: usize = 2 * SMALL;
/// A batch is full with so many bytes of payload, in and out.
const FULL_BYTES: u64 = 64 << 10;
/// Bytes that a batch takes, at most: what is read, and replies.
pub(crate) const BATCH_BYTES: usize = SMALL + ROOM;

/// The bytes after the requests that were cut off.
#[derive(Debug)]
pub(crate) enum Next {
    /// The batch is full.
    Full,
    /// A part of a request, or nothing.
    Part,
    /// The client wants to end.
    Goodbye,
    /// Something else than a request.
    Broken(Violation),
    /// Nothing more comes; `cut` if that was in the middle of a request.
    Gone { cut: bool },
}

/// The threads of a connection, and the device's service time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crew<'a> {
    pub(crate) service_time: &'a ServiceTime,
    pub(crate) threads: usize,
}

/// Bytes that were read and not cut off yet, for the next thread that reads.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
    pieces: Option<Pieces>,
    /// Since when a part of a request is here, if its reader gave up.
    begun: Option<Instant>,
}

impl Carry {
    /// Returns what a handshake left over.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            pieces: None,
            begun: None,
        }
    }
}

/// A request, or a piece of one.
#[derive(Debug)]
struct Taken {
    head: Head,
    payload: Range<usize>,
    job: Option<Arc<Job>>,
}

/// Requests with their payloads where they were read to, and their replies.
#[derive(Debug)]
pub(crate) struct Batch {
    account: Account,
    input: Vec<u8>,
    /// The begin and the end of the bytes that were not cut off yet.
    begin: usize,
    end: usize,
    /// Of a large request whose head was cut already.
    pieces: Option<Pieces>,
    /// Since when a part of a request is here that could not be read to its end.
    begun: Option<Instant>,
    requests: Vec<Taken>,
    weight: u64,
    long: bool,
    replies: Replies,
}

impl Batch {
    /// Begins an empty one, with all buffers that it needs.
    pub(crate) fn new(mode: Mode, account: Account) -> Result<Self, TryReserveError> {
        Ok(Self {
            account,
            input: zeroed(SMALL)?,
            begin: 0,
            end: 0,
            pieces: None,
            begun: None,
            requests: Vec::new(),
            weight: 0,
            long: false,
            replies: Replies::new(mode, ROOM)?,
        })
    }

    /// Takes what somebody else read: what another batch unloaded, or a handshake left over, which
    /// is less.
    pub(crate) fn load(&mut self, carry: &mut Carry) {
        self.input[..carry.bytes.len()].copy_from_slice(&carry.bytes);
        (self.begin, self.end) = (0, carry.bytes.len());
        carry.bytes.clear();
        self.pieces = carry.pieces.take();
        self.begun = carry.begun.take();
    }

    /// Gives away what was read beyond the requests, if there is memory to put it into.
    pub(crate) fn unload(&mut self, carry: &mut Carry) -> Result<(), TryReserveError> {
        let rest = &self.input[self.begin..self.end];
        carry.bytes.try_reserve_exact(rest.len())?;
        carry.bytes.extend_from_slice(rest);
        self.end = self.begin;
        carry.pieces = self.pieces.take();
        carry.begun = self.begun.take();
        Ok(())
    }

    /// Reads until there is a whole request, or a piece of a large one, and cuts off as many as
    /// make a batch. `read` gets the time at which the first part of such a request came, and
    /// returns the number of bytes that it read: none at the end. After an error it may be called
    /// again.
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

    /// Cuts requests off the front of what was read, until the next one is not all there; or says
    /// why there is none.
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

    /// Says whether one more fits into the batch.
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
        self.requests.push(Taken { head, payload, job });
    }

    /// Returns how many requests make a batch.
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

    /// Returns the number of bytes of payload, in and out.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Says whether the device may take long for it, whatever it took for others.
    pub(crate) fn is_long(&self) -> bool {
        self.long
    }

    /// Lets the device do all of it. Replies are handed to `send` when they are many, and at the
    /// end; it is told whether the next ones must follow these. After an error the rest is not
    /// done. Between pieces of a large request the system may let another thread run first: large
    /// requests of many clients would keep every CPU from who asks for little.
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
        for Taken { head, payload, job } in &self.requests {
            let payload = &self.input[payload.clone()];
            let expected = session.answer_len(head);
            if replies.bytes().len() + expected > SMALL {
                flush(replies, false)?;
            }
            match job {
                Some(job) if head.command == Command::Read => {
                    let done = read_piece(session, job, head, replies);
                    // Before the end of the reply, which another thread may find to be its own.
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
                None if expected > SMALL && session.check(head).is_ok() => {
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

/// So many zeroes, if there is memory for them.
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
    /// The head of a request that is done in pieces, and whether it has a payload.
    Large(Head, bool),
    /// A request with so many bytes of payload.
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
