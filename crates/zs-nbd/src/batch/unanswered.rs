//! The reason why requests get no answer.

use crate::device::Errno;

/// The reason why a batch was not answered to its end.
#[derive(Debug)]
pub(crate) enum Unanswered<E> {
    /// Replies could not be sent.
    Unsent(E),
    /// The device failed in the middle of a reply, where an error cannot be sent any more.
    Failed(Errno),
}
