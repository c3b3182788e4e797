//! Whole requests, cut from what was read, and the replies to them.

use crate::proto::{Command, Head, Replies, Violation};
use crate::session::Session;
use std::ops::Range;

/// Bytes that are read at once, unless a request is larger.
const CHUNK: usize = 128 << 10;
/// A batch is full with so many bytes of payload, in and out,
const FULL_BYTES: u64 = 64 << 10;
/// or so many requests.
const FULL_REQUESTS: usize = 32;
/// Buffers are kept up to this size between batches.
const KEEP: usize = 1 << 20;

/// What follows the requests that were cut.
#[derive(Debug)]
pub(crate) enum Next {
    /// The batch is full.
    Full,
    /// A part of a request, which has so many bytes, or nothing.
    Part(usize),
    /// The client wants to end.
    Goodbye,
    /// Something else than a request.
    Broken(Violation),
}

/// Requests with their payloads where they were read to, and their replies.
#[derive(Debug)]
pub(crate) struct Batch {
    input: Vec<u8>,
    filled: usize,
    taken: usize,
    requests: Vec<(Head, Range<usize>)>,
    weight: u64,
    replies: Replies,
}

impl Batch {
    pub(crate) fn new(session: &Session) -> Self {
        Self {
            input: vec![0; CHUNK],
            filled: 0,
            taken: 0,
            requests: Vec::new(),
            weight: 0,
            replies: Replies::new(session.mode()),
        }
    }

    /// Begins with what was read before.
    pub(crate) fn begin(&mut self, carry: &[u8]) {
        if self.input.len() < carry.len() {
            self.input.resize(carry.len(), 0);
        }
        self.input[..carry.len()].copy_from_slice(carry);
        self.filled = carry.len();
    }

    /// Where the rest of a request of `wanted` bytes is read to. Grows to twice as much as has come at most: memory follows
    /// bytes, not words.
    pub(crate) fn room(&mut self, wanted: usize) -> &mut [u8] {
        let len = wanted.min(2 * self.filled).max(CHUNK);
        if self.input.len() < len {
            self.input.resize(len, 0);
        }
        &mut self.input[self.filled..]
    }

    /// So many bytes were read.
    pub(crate) fn read(&mut self, len: usize) {
        self.filled += len;
    }

    /// Cuts requests off the front of what was read, until the batch is full.
    pub(crate) fn cut(&mut self, session: &Session) -> Next {
        self.requests.clear();
        self.weight = 0;
        self.taken = 0;
        let most = session.device().block_sizes().maximum;
        let mode = session.mode();
        loop {
            let rest = &self.input[self.taken..self.filled];
            let head = match Head::parse(mode, rest) {
                Ok(Some(head)) => head,
                Ok(None) => return Next::Part(Head::len(mode)),
                Err(violation) => return Next::Broken(violation),
            };
            if head.command == Command::Disconnect {
                return Next::Goodbye;
            }
            let payload = match head.payload(mode, most) {
                Ok(len) => len,
                Err(violation) => return Next::Broken(violation),
            };
            let begin = Head::len(mode);
            let end = begin + payload;
            if rest.len() < end {
                return Next::Part(end);
            }
            if self.weight >= FULL_BYTES || self.requests.len() == FULL_REQUESTS {
                return Next::Full;
            }
            self.weight += session.weight(&head);
            let range = self.taken + begin..self.taken + end;
            self.requests.push((head, range));
            self.taken += end;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Bytes of payload, in and out.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether it takes long.
    pub(crate) fn is_heavy(&self) -> bool {
        self.weight >= FULL_BYTES
    }

    /// What was read beyond the requests.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.input[self.taken..self.filled]
    }

    /// Lets the device do all of it. Replies are handed to `send` when they are many, and at the end.
    pub(crate) fn execute<E>(
        &mut self,
        session: &Session,
        mut send: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for (head, payload) in &self.requests {
            session.execute(head, &self.input[payload.clone()], &mut self.replies);
            if self.replies.bytes().len() as u64 >= FULL_BYTES {
                send(self.replies.bytes())?;
                self.replies.clear(KEEP);
            }
        }
        if !self.replies.bytes().is_empty() {
            send(self.replies.bytes())?;
        }
        self.replies.clear(KEEP);
        Ok(())
    }

    /// Gives back memory that a large request took.
    pub(crate) fn shrink(&mut self) {
        if self.input.len() > KEEP {
            self.input.truncate(KEEP);
            self.input.shrink_to(KEEP);
        }
    }
}
