//! Large requests, done in pieces: what they need of memory does not depend on their length.
//!
//! Data model: `Head -> Job -> pieces of at most 128 KiB, by whatever threads -> one answer, when
//! the last one is done`.
//!
//! # Locking
//! A job has a lock, held for a look.

use crate::device::Errno;
use crate::proto::Head;
use crate::session::Refusal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes of a piece; no request of so many is done in pieces.
pub(crate) const PIECE: u64 = 128 << 10;
/// Pieces end at multiples of it: no block of a device is larger, so none is written by halves.
const GRAIN: u64 = 64 << 10;

/// A large request, as far as it is done.
#[derive(Debug)]
pub(crate) struct Job {
    head: Head,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u64,
    /// Why it fails: the first reason that was found.
    refusal: Option<Refusal>,
}

impl Job {
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Says whether it failed already, so that the rest need not be done.
    pub(crate) fn has_failed(&self) -> bool {
        self.lock().refusal.is_some()
    }

    /// So many bytes are done or not, by what `done` says. Returns the outcome of all of it if they
    /// were the last.
    pub(crate) fn note(&self, bytes: u64, done: Result<(), Errno>) -> Option<Result<(), Refusal>> {
        let mut state = self.lock();
        if let Err(errno) = done {
            state.refusal.get_or_insert_with(|| errno.into());
        }
        state.left -= bytes;
        (state.left == 0).then(|| state.refusal.take().map_or(Ok(()), Err))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pieces of a large request that no thread has taken up.
#[derive(Debug)]
pub(crate) struct Pieces {
    job: Arc<Job>,
    /// The rest of it.
    rest: Head,
    /// Whether it comes with a payload: a write, or another one in extended headers that says so.
    carries: bool,
}

impl Pieces {
    /// Returns those of a request that comes with a payload or not. `checked` says whether it is
    /// done at all; the payload of one that is not is taken off the stream all the same.
    pub(crate) fn new(head: Head, carries: bool, checked: Result<(), Refusal>) -> Self {
        let state = State {
            left: head.length,
            refusal: checked.err(),
        };
        Self {
            job: Arc::new(Job {
                head,
                state: Mutex::new(state),
            }),
            rest: head,
            carries,
        }
    }

    /// Returns the next piece; `None` if there is no more.
    pub(crate) fn next(&self) -> Option<Head> {
        if self.rest.length == 0 {
            return None;
        }
        let beyond = self.rest.offset % GRAIN;
        let length = self.rest.length.min(PIECE - beyond);
        Some(Head {
            length,
            ..self.rest
        })
    }

    /// Returns the number of bytes of payload that the next piece comes with.
    pub(crate) fn payload(&self) -> usize {
        let piece = self.next().filter(|_| self.carries);
        piece.map_or(0, |piece| piece.length as usize)
    }

    /// Takes up the next piece.
    pub(crate) fn take(&mut self) -> Option<(Head, Arc<Job>)> {
        let piece = self.next()?;
        self.rest.length -= piece.length;
        // One that is out of range is refused, and what it wraps to is not used.
        self.rest.offset = self.rest.offset.wrapping_add(piece.length);
        Some((piece, Arc::clone(&self.job)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Command;
    use proptest::prelude::*;

    fn head(offset: u64, length: u64) -> Head {
        Head {
            command: Command::Write,
            flags: 0,
            cookie: 7,
            offset,
            length,
        }
    }

    #[test]
    fn the_last_piece_tells_the_first_reason() {
        let mut pieces = Pieces::new(head(0, 3 * PIECE), true, Ok(()));
        let taken: Vec<_> = std::iter::from_fn(|| pieces.take()).collect();
        let job = &taken[0].1;
        assert!(job.note(PIECE, Ok(())).is_none());
        assert!(!job.has_failed());
        assert!(job.note(PIECE, Err(Errno::NoSpc)).is_none());
        assert!(job.has_failed());
        let outcome = job.note(PIECE, Err(Errno::Io)).unwrap();
        assert!(format!("{outcome:?}").contains("NoSpc"), "{outcome:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// They follow each other without a gap, are never too long, and never end within a block.
        #[test]
        fn pieces_make_the_whole(offset in 0..1_u64 << 40, length in PIECE + 1..33 << 20) {
            let mut pieces = Pieces::new(head(offset, length), true, Ok(()));
            let (mut at, end) = (offset, offset + length);
            let mut left = length;
            while let Some((piece, job)) = pieces.take() {
                prop_assert_eq!(piece.offset, at);
                prop_assert!((1..=PIECE).contains(&piece.length));
                at += piece.length;
                prop_assert!(at == end || at.is_multiple_of(GRAIN));
                left -= piece.length;
                prop_assert_eq!(job.note(piece.length, Ok(())).is_some(), left == 0);
            }
            prop_assert_eq!(at, end);
        }
    }
}
