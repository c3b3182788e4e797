//! A lock around a look-up.

use std::sync::{Mutex, MutexGuard, TryLockError};

/// Takes a lock that is only ever held for a few instructions; yields while somebody else has it.
///
/// Never through the contended path of `std`, which ThreadSanitizer cannot see into. A poisoned
/// lock is taken all the same: what it guards is changed by single assignments.
pub(crate) fn short_lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
}
