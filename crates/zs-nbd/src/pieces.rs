//! Large requests, executed in pieces. Their memory does not depend on their length.
//!
//! Data model: `Head -> Job -> pieces of at most 128 KiB, on any threads -> one answer, after the
//! last piece`.
//!
//! # Locking
//! A job has a lock, held for a few instructions.

use crate::device::Errno;
use crate::lengths::to_usize;
use crate::proto::Head;
use crate::session::Refusal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes of a piece. Only longer requests are executed in pieces.
pub(crate) const PIECE: u64 = PIECE_BYTES as u64;
/// The same as a length of memory.
pub(crate) const PIECE_BYTES: usize = 128 << 10;
/// Pieces end at multiples of this number. No block of a device is larger, so no block is written
/// in two parts.
const GRAIN: u64 = 64 << 10;

/// A large request in progress.
#[derive(Debug)]
pub(crate) struct Job {
    head: Head,
    progress: Mutex<JobProgress>,
}

#[derive(Debug)]
struct JobProgress {
    left: u64,
    /// The first error of a piece, if there was one.
    refusal: Option<Refusal>,
}

impl Job {
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Says whether the request has failed already. Then the rest need not be executed.
    pub(crate) fn has_failed(&self) -> bool {
        self.lock().refusal.is_some()
    }

    /// Notes the outcome of a piece of `bytes` bytes. Returns the outcome of the whole request
    /// after the last piece.
    pub(crate) fn note(&self, bytes: u64, done: Result<(), Errno>) -> Option<Result<(), Refusal>> {
        let mut progress = self.lock();
        if let Err(errno) = done {
            progress.refusal.get_or_insert_with(|| errno.into());
        }
        progress.left -= bytes;
        (progress.left == 0).then(|| progress.refusal.take().map_or(Ok(()), Err))
    }

    fn lock(&self) -> MutexGuard<'_, JobProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pieces of a large request that no thread has taken yet.
#[derive(Debug)]
pub(crate) struct Pieces {
    job: Arc<Job>,
    /// The part of the request that was not taken yet.
    rest: Head,
    /// The request has a payload: it is a write, or another command whose extended header says so.
    carries: bool,
}

impl Pieces {
    /// Splits a request. `carries` says whether it has a payload. `checked` is the outcome of its
    /// checks: a request that failed them is not executed, but its payload is still taken from the
    /// stream.
    pub(crate) fn new(head: Head, carries: bool, checked: Result<(), Refusal>) -> Self {
        let progress = JobProgress {
            left: head.length,
            refusal: checked.err(),
        };
        Self {
            job: Arc::new(Job {
                head,
                progress: Mutex::new(progress),
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

    /// Returns the bytes of payload of the next piece.
    pub(crate) fn payload(&self) -> usize {
        let piece = self.next().filter(|_| self.carries);
        piece.map_or(0, |piece| to_usize(piece.length))
    }

    /// Takes up the next piece.
    pub(crate) fn take(&mut self) -> Option<(Head, Arc<Job>)> {
        let piece = self.next()?;
        self.rest.length -= piece.length;
        // A request out of range was refused already, so a wrapped offset is never used.
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

        /// Pieces follow each other without a gap, are never too long, and never end inside a
        /// block.
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
