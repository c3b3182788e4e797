//! A value that threads have in turn, for as long as a call on a socket takes.
//!
//! A mutex does not do: who waits here may give up after a time, and who leaves learns whether
//! anybody waits.
//!
//! # Locking
//! The turn has a lock, held for a look; the value's own is only taken by who has the turn, so that
//! nobody waits for it.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Turn<T> {
    state: Mutex<State>,
    free: Condvar,
    value: Mutex<T>,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    waiting: usize,
    /// Those of them who wait however long it takes.
    staying: usize,
}

/// The turn; it ends when this is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Held<'a, T> {
    // Dropped before the turn ends.
    value: MutexGuard<'a, T>,
    _end: EndOfTurn<'a, T>,
}

#[derive(Debug)]
struct EndOfTurn<'a, T>(&'a Turn<T>);

impl<T> Turn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            state: Mutex::default(),
            free: Condvar::new(),
            value: Mutex::new(value),
        }
    }

    /// Waits for the turn, for ever or as long as `patience` says.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Option<Held<'_, T>> {
        let mut state = lock(&self.state);
        state.waiting += 1;
        let stays = usize::from(patience.is_none());
        state.staying += stays;
        let is_taken = |state: &mut State| state.taken;
        let mut state = match patience {
            None => {
                let waited = self.free.wait_while(state, is_taken);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
            Some(time) => {
                let waited = self.free.wait_timeout_while(state, time, is_taken);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.waiting -= 1;
        state.staying -= stays;
        if state.taken {
            return None;
        }
        state.taken = true;
        drop(state);
        Some(Held {
            value: lock(&self.value),
            _end: EndOfTurn(self),
        })
    }

    /// Says whether somebody has the turn, or waits for it and so will have it if it is free.
    pub(crate) fn is_wanted(&self) -> bool {
        let state = lock(&self.state);
        state.taken || state.waiting > 0
    }

    /// Says whether somebody waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.state).waiting > 0
    }

    /// Says whether somebody waits for it who does not give up: so it has a taker once it is free.
    pub(crate) fn is_awaited_for_good(&self) -> bool {
        lock(&self.state).staying > 0
    }

    pub(crate) fn into_inner(self) -> T {
        self.value
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for EndOfTurn<'_, T> {
    fn drop(&mut self) {
        lock(&self.0.state).taken = false;
        self.0.free.notify_one();
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Held<'_, T> {
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
