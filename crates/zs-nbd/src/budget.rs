//! One bound on the memory of all large requests of a server.
//!
//! Data model: `Budget -> Loan -> the buffer of one large request, or of the replies to one`.
//!
//! A thread that waits for a loan has none, and each loan is all that a request needs: so whoever has one ends without another,
//! and nobody waits for ever.
//!
//! # Locking
//! The budget has a lock, held for a look.

use std::collections::{TryReserveError, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Buffers up to this size are kept for the next one: a request of 2 MiB, as qemu-img makes them, and its head.
const KEEP: usize = (2 << 20) + (64 << 10);
/// So many of them.
const KEPT: usize = 8;

/// Bytes that may be lent.
#[derive(Debug)]
pub(crate) struct Budget {
    total: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug)]
struct State {
    left: usize,
    /// Who waits gets theirs in this order, so that many small ones do not keep out a large one for ever.
    waiting: VecDeque<u64>,
    last: u64,
    /// Not counted in `left`.
    spare: Vec<Vec<u8>>,
}

/// A buffer, with bytes of earlier requests in it. It goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    budget: Arc<Budget>,
    bytes: Vec<u8>,
    charge: usize,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            state: Mutex::new(State {
                left: total,
                waiting: VecDeque::new(),
                last: 0,
                spare: Vec::new(),
            }),
            returned: Condvar::new(),
        }
    }

    /// A buffer of `len` bytes or more; waits until there is room for it. One that is larger than the budget gets all of it.
    ///
    /// # Errors
    /// If the system has no memory for it; others that wait go on.
    pub(crate) fn lend(self: &Arc<Self>, len: usize) -> Result<Loan, TryReserveError> {
        let charge = len.min(self.total);
        let mut state = self.lock();
        if let Some(bytes) = state.take_spare(len) {
            let charge = bytes.len();
            return Ok(self.loan(bytes, charge));
        }
        state.last += 1;
        let ticket = state.last;
        state.waiting.push_back(ticket);
        while state.waiting.front() != Some(&ticket) || !state.has(charge) {
            let woken = self.returned.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.pop_front();
        state.left -= charge;
        drop(state);
        self.returned.notify_all();
        // Without memory this is dropped, which gives back the charge.
        let mut loan = self.loan(Vec::new(), charge);
        loan.bytes.try_reserve_exact(len)?;
        loan.bytes.resize(len, 0);
        Ok(loan)
    }

    fn loan(self: &Arc<Self>, bytes: Vec<u8>, charge: usize) -> Loan {
        Loan {
            budget: Arc::clone(self),
            bytes,
            charge,
        }
    }

    /// Who waits for a loan.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A spare buffer for so many bytes. While somebody waits they are theirs, to be given up for what is larger.
    fn take_spare(&mut self, len: usize) -> Option<Vec<u8>> {
        if !self.waiting.is_empty() {
            return None;
        }
        let fits = |spare: &Vec<u8>| (len..=len.saturating_mul(2)).contains(&spare.len());
        let index = self.spare.iter().position(fits)?;
        Some(self.spare.swap_remove(index))
    }

    /// Whether there are so many bytes, without spare buffers if need be.
    fn has(&mut self, charge: usize) -> bool {
        while self.left < charge {
            let Some(spare) = self.spare.pop() else {
                return false;
            };
            self.left += spare.len();
        }
        true
    }
}

impl Loan {
    /// The buffer itself, to be put in the place of another one and back.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Deref for Loan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.budget.lock();
        if bytes.len() == self.charge && bytes.len() <= KEEP && state.spare.len() < KEPT {
            state.spare.push(bytes);
        } else {
            drop(state);
            drop(bytes);
            self.budget.lock().left += self.charge;
        }
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn spare_buffers_are_used_again_or_given_up() {
        let budget = Arc::new(Budget::new(1 << 20));
        let mut first = budget.lend(600 << 10).unwrap();
        first[0] = 7;
        drop(first);
        assert_eq!(budget.lend(400 << 10).unwrap()[0], 7, "the same one");
        let other = budget.lend(1 << 20).unwrap();
        assert_eq!(other[0], 0, "a new one in its place");
        assert_eq!(budget.lock().left, 0);
        drop(other);
        let large = budget.lend(5 << 20).unwrap();
        assert_eq!(large.len(), 5 << 20, "larger than all of it");
    }

    #[test]
    fn a_spare_buffer_is_not_taken_past_who_waits() {
        let budget = Arc::new(Budget::new(100));
        drop(budget.lend(30).unwrap());
        let mut state = budget.lock();
        state.waiting.push_back(1);
        assert_eq!(state.take_spare(30), None);
        state.waiting.clear();
        assert_eq!(state.take_spare(30), Some(vec![0; 30]));
    }

    /// More than there are addresses.
    #[test]
    fn without_memory_nothing_is_lent() {
        let budget = Arc::new(Budget::new(100));
        assert!(budget.lend(isize::MAX as usize).is_err());
        assert_eq!(budget.lock().left, 100);
        assert_eq!(budget.lend(100).unwrap().len(), 100, "others go on");
    }

    /// A large one is first in the queue: a small one that would fit has to wait behind it.
    #[test]
    fn who_waits_first_is_served_first() {
        let budget = Arc::new(Budget::new(100));
        let held = budget.lend(60).unwrap();
        let (told, order) = mpsc::channel();
        std::thread::scope(|scope| {
            for (place, len) in [(1, 100), (2, 30)] {
                let (budget, told) = (&budget, told.clone());
                scope.spawn(move || {
                    let loan = budget.lend(len).unwrap();
                    told.send(len).unwrap();
                    drop(loan);
                });
                while budget.waiting() < place {
                    std::thread::yield_now();
                }
            }
            drop(held);
        });
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [100, 30]);
    }
}
