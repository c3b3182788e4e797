//! Large reads, whose replies are longer than the reply buffer of a batch.

use super::unanswered::Unanswered;
use crate::device::Errno;
use crate::lengths::to_usize;
use crate::pieces::{Job, Pieces};
use crate::proto::{Head, Replies};
use crate::session::Session;

/// Reads a piece of a large request, unless the request has failed already.
pub(super) fn read_piece(
    session: &Session,
    job: &Job,
    piece: &Head,
    replies: &mut Replies,
) -> Result<(), Errno> {
    if job.has_failed() {
        return Ok(());
    }
    replies.answer(job.head().cookie, job.head().offset);
    let read = |buf: &mut [u8]| session.device().read(piece.offset, buf);
    replies.part(piece.offset, to_usize(piece.length), read)
}

/// Answers a large read whose reply must not be split, without memory for all of it. An error must
/// come before the data, so the range is read twice: first to find an error, then to send it.
pub(super) fn read_unbroken<E>(
    session: &Session,
    head: &Head,
    replies: &mut Replies,
    flush: &mut impl FnMut(&mut Replies, bool) -> Result<(), Unanswered<E>>,
) -> Result<(), Unanswered<E>> {
    let pieces = || {
        let mut pieces = Pieces::new(*head, false, Ok(()));
        std::iter::from_fn(move || pieces.take().map(|(piece, _)| piece))
    };
    let rest = |replies: &mut Replies, piece: &Head| {
        let read = |buf: &mut [u8]| session.device().read(piece.offset, buf);
        replies.rest(to_usize(piece.length), read)
    };
    flush(replies, false)?;
    for piece in pieces() {
        let readable = rest(replies, &piece);
        replies.clear();
        std::thread::yield_now();
        if let Err(errno) = readable {
            session.finish(head, Err(errno.into()), replies);
            return Ok(());
        }
    }
    replies.answer(head.cookie, head.offset);
    replies.unbroken(to_usize(head.length));
    for piece in pieces() {
        rest(replies, &piece).map_err(Unanswered::Failed)?;
        let more = piece.offset + piece.length < head.offset + head.length;
        flush(replies, more)?;
    }
    Ok(())
}
