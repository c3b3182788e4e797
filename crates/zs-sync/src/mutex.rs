//! A value behind a lock of the table.
//!
//! Under loom the lock is loom's own, which keeps models small; [`RawLock`](crate::RawLock) has a
//! model of its own.

use crate::{Host, LockName, lock_name::Held};
use core::fmt;
use core::ops::{Deref, DerefMut};

/// A value that is only reached with its lock held.
pub struct Mutex<T> {
    name: LockName,
    #[cfg(not(zs_loom))]
    lock: crate::RawLock,
    #[cfg(not(zs_loom))]
    value: core::cell::UnsafeCell<T>,
    #[cfg(zs_loom)]
    value: loom::sync::Mutex<T>,
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The right to use the value of a [`Mutex`]; dropping it unlocks.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    #[cfg(not(zs_loom))]
    mutex: &'a Mutex<T>,
    #[cfg(not(zs_loom))]
    host: &'a dyn Host,
    #[cfg(zs_loom)]
    guard: loom::sync::MutexGuard<'a, T>,
    _held: Held,
}

#[cfg(not(zs_loom))]
mod arm {
    use super::*;

    // SAFETY: the lock lets one thread at a time reach the value, so sharing the mutex is sending
    // the value from thread to thread.
    unsafe impl<T: Send> Sync for Mutex<T> {}

    impl<T> Mutex<T> {
        /// Makes a mutex of `name` around `value`.
        pub fn new(name: LockName, value: T) -> Self {
            Self {
                name,
                lock: crate::RawLock::default(),
                value: core::cell::UnsafeCell::new(value),
            }
        }

        /// Takes the lock; blocks while another thread holds it.
        ///
        /// # Panics
        /// Debug builds panic if the caller holds a lock that must not be held (see [`LockName`]).
        #[inline]
        pub fn lock<'a>(&'a self, host: &'a dyn Host) -> MutexGuard<'a, T> {
            let held = Held::enter(self.name);
            self.lock.lock(host);
            #[cfg(feature = "hold-hook")]
            crate::hold_hook::tell(self.name, crate::HoldEvent::Taken);
            MutexGuard {
                mutex: self,
                host,
                _held: held,
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: the guard holds the lock, so no other thread has a reference to the value,
            // and the borrow of the guard keeps this thread from having a mutable one.
            unsafe { &*self.mutex.value.get() }
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the guard holds the lock, and it is borrowed mutably: this is the only
            // reference to the value.
            unsafe { &mut *self.mutex.value.get() }
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            #[cfg(feature = "hold-hook")]
            crate::hold_hook::tell(self.mutex.name, crate::HoldEvent::Releasing);
            self.mutex.lock.unlock(self.host);
        }
    }
}

#[cfg(zs_loom)]
#[expect(clippy::unwrap_used, reason = "a poisoned lock ends the model run")]
mod arm {
    use super::*;

    impl<T> Mutex<T> {
        /// Makes a mutex of `name` around `value`.
        pub fn new(name: LockName, value: T) -> Self {
            Self {
                name,
                value: loom::sync::Mutex::new(value),
            }
        }

        /// Takes the lock; blocks while another thread holds it.
        pub fn lock<'a>(&'a self, _host: &'a dyn Host) -> MutexGuard<'a, T> {
            let held = Held::enter(self.name);
            MutexGuard {
                guard: self.value.lock().unwrap(),
                _held: held,
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.guard
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.guard
        }
    }
}
