//! Whole requests, cut from what was read, and the replies to them.
//!
//! Data model: `bytes -> small or large buffer -> requests with their payloads -> replies, small or large`. A large buffer is a
//! loan of the server's budget, for one request alone; so a batch has one loan at a time at most.

use crate::budget::{Budget, Loan};
use crate::device::Errno;
use crate::pace::{FULL_REQUESTS, Pace};
use crate::proto::{Command, Head, Replies, Violation};
use crate::session::Session;
use std::collections::TryReserveError;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of a buffer that is no loan: one request of 128 KiB and its head.
const SMALL: usize = (128 << 10) + (4 << 10);
/// A batch is full with so many bytes of payload, in and out. Less than what a loan is needed for.
const FULL_BYTES: u64 = 64 << 10;

/// What follows the requests that were cut.
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
    /// There is no memory for the next request.
    NoMemory,
}

/// Who works on a connection's requests, and how fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crew<'a> {
    pub(crate) pace: &'a Pace,
    pub(crate) threads: usize,
}

/// Requests with their payloads where they were read to, and their replies.
#[derive(Debug)]
pub(crate) struct Batch {
    budget: Arc<Budget>,
    small: Vec<u8>,
    /// In place of `small`, from the beginning of a request on that does not fit there.
    large: Option<Loan>,
    /// Where what has not been cut yet begins and ends.
    taken: usize,
    filled: usize,
    requests: Vec<(Head, Range<usize>)>,
    weight: u64,
    long: bool,
    replies: Replies,
}

impl Batch {
    pub(crate) fn new(session: &Session, budget: Arc<Budget>) -> Self {
        Self {
            budget,
            small: vec![0; SMALL],
            large: None,
            taken: 0,
            filled: 0,
            requests: Vec::new(),
            weight: 0,
            long: false,
            replies: Replies::new(session.mode()),
        }
    }

    /// Takes bytes that somebody else read: what another batch unloaded, or a handshake left over, which is less.
    pub(crate) fn load(&mut self, bytes: &mut Vec<u8>) {
        self.small[..bytes.len()].copy_from_slice(bytes);
        (self.taken, self.filled) = (0, bytes.len());
        bytes.clear();
    }

    /// Moves to `bytes` what was read beyond the requests.
    pub(crate) fn unload(&mut self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.input()[self.taken..self.filled]);
        self.filled = self.taken;
    }

    /// Reads until there is a whole request, and cuts off as many as make a batch. `read` is told since when a part of a
    /// request is here, which begins anew with a loan: the wait for that is not its client's fault. It returns how many bytes it
    /// read, none at the end. After an error it may be asked again.
    pub(crate) fn fill<E>(
        &mut self,
        session: &Session,
        crew: Crew<'_>,
        mut read: impl FnMut(&mut [u8], Option<Instant>) -> Result<usize, E>,
    ) -> Result<Next, E> {
        self.requests.clear();
        self.weight = 0;
        self.long = false;
        let mut begun = None;
        loop {
            let most = self.share(session, crew);
            let wanted = match self.cut(session, most) {
                Ok(wanted) => wanted,
                Err(next) => return Ok(next),
            };
            if !self.requests.is_empty() {
                return Ok(Next::Part);
            }
            let cut = self.filled > self.taken;
            match self.make_room(wanted) {
                Ok(true) => begun = None,
                Ok(false) => {}
                Err(_) => return Ok(Next::NoMemory),
            }
            if cut && begun.is_none() {
                begun = Some(Instant::now());
            }
            let len = read(self.room(wanted), begun)?;
            if len == 0 {
                return Ok(Next::Gone { cut });
            }
            self.filled += len;
        }
    }

    /// Cuts requests off the front of what was read. Returns how many bytes the next one has, or why there is none.
    fn cut(&mut self, session: &Session, most: usize) -> Result<usize, Next> {
        loop {
            let rest = &self.input()[self.taken..self.filled];
            let (head, end) = match measure(session, rest)? {
                Measure::Part(wanted) => return Ok(wanted),
                Measure::Whole(head, end) => (head, end),
            };
            let long = session.may_take_long(&head);
            let begun = !self.requests.is_empty();
            let full = self.weight >= FULL_BYTES || self.requests.len() >= most;
            if full || self.long || (long && begun) {
                return Err(Next::Full);
            }
            self.weight += session.weight(&head);
            self.long = long;
            let begin = self.taken + Head::len(session.mode());
            self.taken += end;
            self.requests.push((head, begin..self.taken));
        }
    }

    /// How many requests make a batch.
    fn share(&self, session: &Session, crew: Crew<'_>) -> usize {
        if !crew.pace.is_long(FULL_REQUESTS) {
            return FULL_REQUESTS;
        }
        let mut rest = &self.input()[self.taken..self.filled];
        let mut waiting = 0;
        while let Ok(Measure::Whole(_, end)) = measure(session, rest) {
            waiting += 1;
            rest = &rest[end..];
        }
        crew.pace.share(waiting, crew.threads)
    }

    fn input(&self) -> &[u8] {
        self.large.as_deref().unwrap_or(&self.small)
    }

    /// Makes room for the rest of a request of `wanted` bytes. Whether that took a new loan, which it may have waited for.
    fn make_room(&mut self, wanted: usize) -> Result<bool, TryReserveError> {
        if self.large.is_some() {
            return Ok(false);
        }
        self.small.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        // Memory follows bytes, not words: only now, with the small buffer full, is it believed to be a large request.
        if self.filled < self.small.len() {
            return Ok(false);
        }
        let mut large = self.budget.lend(wanted)?;
        large[..self.filled].copy_from_slice(&self.small);
        self.large = Some(large);
        Ok(true)
    }

    /// Where the rest of a request of `wanted` bytes is read to.
    fn room(&mut self, wanted: usize) -> &mut [u8] {
        match &mut self.large {
            Some(large) => &mut large[self.filled..wanted],
            None => &mut self.small[self.filled..],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of payload, in and out.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether the device may take long for it, whatever it took for others.
    pub(crate) fn is_long(&self) -> bool {
        self.long
    }

    /// Lets the device do all of it. Replies are handed to `send` when they are many, and at the end. After an error the rest is
    /// not done.
    pub(crate) fn execute<E>(
        &mut self,
        session: &Session,
        mut send: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let input = self.large.as_deref().unwrap_or(&self.small);
        let replies = &mut self.replies;
        replies.clear();
        for (head, payload) in &self.requests {
            let payload = &input[payload.clone()];
            // Whatever comes with a payload is answered in few words.
            let expected = if payload.is_empty() {
                session.answer_len(head)
            } else {
                0
            };
            if replies.bytes().len() + expected > SMALL {
                send(replies.bytes())?;
                replies.clear();
            }
            if expected > SMALL {
                let Ok(mut loan) = self.budget.lend(expected) else {
                    session.refuse(head, Errno::NoMem, replies);
                    continue;
                };
                replies.exchange(loan.bytes());
                session.execute(head, payload, replies);
                let sent = send(replies.bytes());
                replies.clear();
                replies.exchange(loan.bytes());
                sent?;
                continue;
            }
            session.execute(head, payload, replies);
            if replies.bytes().len() as u64 >= FULL_BYTES {
                send(replies.bytes())?;
                replies.clear();
            }
        }
        if !replies.bytes().is_empty() {
            send(replies.bytes())?;
        }
        if self.large.take().is_some() {
            (self.taken, self.filled) = (0, 0);
        }
        Ok(())
    }
}

/// What bytes begin with.
enum Measure {
    /// A part of a request that has so many bytes; of its head, if that is not here yet.
    Part(usize),
    /// A request of so many bytes.
    Whole(Head, usize),
}

fn measure(session: &Session, bytes: &[u8]) -> Result<Measure, Next> {
    let mode = session.mode();
    let Some(head) = Head::parse(mode, bytes).map_err(Next::Broken)? else {
        return Ok(Measure::Part(Head::len(mode)));
    };
    if head.command == Command::Disconnect {
        return Err(Next::Goodbye);
    }
    let most = session.device().block_sizes().maximum;
    let payload = head.payload(mode, most).map_err(Next::Broken)?;
    let len = Head::len(mode) + payload;
    if bytes.len() < len {
        return Ok(Measure::Part(len));
    }
    Ok(Measure::Whole(head, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Export, Exports};
    use crate::memory::MemoryDevice;
    use crate::proto::{Handshake, Security, Step};
    use crate::refusals::Refusals;
    use proptest::prelude::*;
    use std::time::Duration;

    /// With simple replies, of a disk of 1 MiB.
    fn session() -> Session {
        let disk = Arc::new(MemoryDevice::new(1 << 20).unwrap());
        let exports = Exports::new(vec![Export::new("", "", disk).unwrap()]).unwrap();
        let mut out = Vec::new();
        let untold = Arc::new(Refusals::untold());
        let mut handshake =
            Handshake::new(&exports, Security::Clear, Arc::clone(&untold), &mut out);
        let opening = b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0";
        let (_, step) = handshake.advance(opening, &mut out).unwrap();
        let Step::Begin(agreement) = step else {
            panic!("{step:?}");
        };
        Session::new(agreement, untold)
    }

    /// Writes and reads of these lengths in turn.
    fn stream(lens: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (cookie, len) in lens.iter().enumerate() {
            let write = cookie % 2 == 0;
            bytes.extend(0x2560_9513_u32.to_be_bytes());
            bytes.extend([0, 0, 0, u8::from(write)]);
            bytes.extend((cookie as u64).to_be_bytes());
            bytes.extend((cookie as u64 * 512).to_be_bytes());
            bytes.extend((*len as u32).to_be_bytes());
            if write {
                bytes.extend((0..*len).map(|n| (n + cookie) as u8));
            }
        }
        bytes
    }

    /// The answers to a stream that comes in such pieces, with the inbox handed to the other of two batches where `hands` says so.
    fn answers(stream: &[u8], pieces: &[usize], hands: &[bool], pace: &Pace) -> Vec<u8> {
        let session = session();
        let budget = Arc::new(Budget::new(0));
        let mut batches = [(); 2].map(|()| Batch::new(&session, Arc::clone(&budget)));
        let (mut rest, mut out, mut carry) = (stream, Vec::new(), Vec::new());
        let (mut pieces, mut hands) = (pieces.iter().cycle(), hands.iter().cycle());
        let mut now = 0;
        loop {
            let crew = Crew { pace, threads: 3 };
            let next = batches[now].fill(&session, crew, |buf, _| {
                let len = *pieces.next().unwrap_or(&1);
                let (piece, later) = rest.split_at(len.min(rest.len()).min(buf.len()));
                buf[..piece.len()].copy_from_slice(piece);
                rest = later;
                Ok::<usize, ()>(piece.len())
            });
            let hand = *hands.next().unwrap_or(&false);
            if hand {
                batches[now].unload(&mut carry);
            }
            let done = batches[now].execute(&session, |replies| {
                out.extend_from_slice(replies);
                Ok::<(), ()>(())
            });
            assert!(done.is_ok());
            if hand {
                now = 1 - now;
                batches[now].load(&mut carry);
            }
            match next.unwrap() {
                Next::Full | Next::Part => {}
                Next::Gone { cut: false } => return out,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_wait_for_a_loan_is_not_the_clients_fault() {
        let session = session();
        let budget = Arc::new(Budget::new(1 << 20));
        let held = budget.lend(1 << 20).unwrap();
        let stream = stream(&[200_000]);
        let (mut rest, mut begun) = (&stream[..], Vec::new());
        let given = std::thread::scope(|scope| {
            let giving = scope.spawn(|| {
                while budget.waiting() == 0 {
                    std::thread::yield_now();
                }
                let given = Instant::now();
                drop(held);
                given
            });
            let pace = &Pace::default();
            let crew = Crew { pace, threads: 1 };
            let mut batch = Batch::new(&session, Arc::clone(&budget));
            let next = batch.fill(&session, crew, |buf, since| {
                begun.push(since);
                let (piece, later) = rest.split_at(rest.len().min(buf.len()).min(100_000));
                buf[..piece.len()].copy_from_slice(piece);
                rest = later;
                Ok::<usize, ()>(piece.len())
            });
            assert!(matches!(next, Ok(Next::Part)), "{next:?}");
            giving.join().unwrap()
        });
        assert_eq!(begun.len(), 3, "{begun:?}");
        assert_eq!(begun[0], None);
        assert!(begun[1].unwrap() < given, "in the small buffer");
        assert!(begun[2].unwrap() >= given, "in the loan");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Wherever what was read is cut, and whoever goes on with it, on a fast device and a slow one.
        #[test]
        fn whoever_reads_on_the_answers_are_the_same(
            lens in prop::collection::vec(prop_oneof![
                9 => 1..9000_usize,
                2 => 60_000..200_000_usize,
            ], 1..60),
            pieces in prop::collection::vec(1..150_000_usize, 1..9),
            hands in prop::collection::vec(any::<bool>(), 1..9),
            slow in any::<bool>(),
        ) {
            let pace = Pace::default();
            for _ in 0..20 {
                pace.note(Duration::from_millis(u64::from(slow)), 1);
            }
            let stream = stream(&lens);
            let whole = answers(&stream, &[usize::MAX], &[false], &Pace::default());
            prop_assert!(answers(&stream, &pieces, &hands, &pace) == whole);
        }
    }
}
