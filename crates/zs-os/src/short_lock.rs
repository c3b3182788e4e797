//! A lock that is held for a few instructions only.

use std::sync::{Mutex, MutexGuard, TryLockError};

/// Takes a lock that is only ever held for a few instructions. Yields while another thread has it.
///
/// It never uses the contended path of `std`, which ThreadSanitizer cannot see. A poisoned lock is
/// taken too, because its value is changed by single assignments and so always valid.
pub(crate) fn short_lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
}
