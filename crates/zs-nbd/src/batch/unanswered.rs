//! The reason why requests get no answer.

use crate::device::Errno;

/// Why a batch was not answered to its end.
#[derive(Debug)]
pub(crate) enum Unanswered<E> {
    /// Replies were not taken.
    Unsent(E),
    /// The device failed in the middle of a reply that has no place for an error.
    Failed(Errno),
}
