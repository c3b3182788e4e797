//! A value that threads own in turn, each for as long as a call on a socket.
//!
//! A mutex is not enough: a thread that waits may give up after a time, and a thread that leaves
//! can ask whether another one waits.
//!
//! # Locking
//! The queue has a lock, held for a few instructions. The value has a lock that only the owner of
//! the turn takes, so no thread ever waits for it.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Turn<T> {
    queue: Mutex<Queue>,
    free: Condvar,
    value: Mutex<T>,
}

#[derive(Debug, Default)]
struct Queue {
    taken: bool,
    waiting: usize,
    /// The threads among them that wait without a time limit.
    staying: usize,
}

/// The turn. It ends when this is dropped, also during a panic.
#[derive(Debug)]
pub(crate) struct TurnGuard<'a, T> {
    // Dropped before the turn ends.
    value: MutexGuard<'a, T>,
    _end: EndOfTurn<'a, T>,
}

#[derive(Debug)]
struct EndOfTurn<'a, T>(&'a Turn<T>);

impl<T> Turn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            queue: Mutex::default(),
            free: Condvar::new(),
            value: Mutex::new(value),
        }
    }

    /// Waits for the turn, for `patience` at most. Returns `None` after that time.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Option<TurnGuard<'_, T>> {
        let mut queue = lock(&self.queue);
        queue.waiting += 1;
        let stays = usize::from(patience.is_none());
        queue.staying += stays;
        let is_taken = |queue: &mut Queue| queue.taken;
        let mut queue = match patience {
            None => {
                let waited = self.free.wait_while(queue, is_taken);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
            Some(time) => {
                let waited = self.free.wait_timeout_while(queue, time, is_taken);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        queue.waiting -= 1;
        queue.staying -= stays;
        if queue.taken {
            return None;
        }
        queue.taken = true;
        drop(queue);
        Some(TurnGuard {
            value: lock(&self.value),
            _end: EndOfTurn(self),
        })
    }

    /// Says whether a thread has the turn or waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        let queue = lock(&self.queue);
        queue.taken || queue.waiting > 0
    }

    /// Says whether a thread waits for the turn.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.queue).waiting > 0
    }

    /// Says whether a thread waits for the turn without a time limit, so that it is taken as soon
    /// as it is free.
    pub(crate) fn is_awaited_for_good(&self) -> bool {
        lock(&self.queue).staying > 0
    }

    pub(crate) fn into_inner(self) -> T {
        self.value
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for EndOfTurn<'_, T> {
    fn drop(&mut self) {
        lock(&self.0.queue).taken = false;
        self.0.free.notify_one();
    }
}

impl<T> Deref for TurnGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for TurnGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_turn_ends_by_a_panic_too() {
        let turn = Turn::new(7);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let mut held = turn.take(None).unwrap();
            *held = 8;
            panic!("while it has the turn");
        }));
        assert!(failed.is_err());
        assert_eq!(turn.take(None).map(|held| *held), Some(8));
    }

    #[test]
    fn who_waits_gets_it_or_gives_up() {
        let turn = Turn::new(0);
        let held = turn.take(None).unwrap();
        assert!(turn.take(Some(Duration::ZERO)).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| turn.take(Some(Duration::from_millis(1))).is_none());
            while !turn.is_awaited() && !waiting.is_finished() {
                std::thread::yield_now();
            }
            assert!(!turn.is_awaited_for_good(), "this one gives up");
            assert!(waiting.join().unwrap());
        });
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| *turn.take(None).unwrap() += 1);
            while !turn.is_awaited_for_good() {
                std::thread::yield_now();
            }
            drop(held);
            assert!(turn.is_wanted() || waiting.is_finished());
            waiting.join().unwrap();
        });
        assert!(!turn.is_wanted());
        assert_eq!(turn.into_inner(), 1);
    }
}
