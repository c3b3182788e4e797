//! One hook for the whole process, around every hold of a [`Mutex`](crate::Mutex): benchmarks
//! measure with it how long locks are held. Without the feature `hold-hook` there is no code for it
//! anywhere.

use crate::LockName;
use std::sync::OnceLock;

/// The moment in a hold of a lock at which the hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldEvent {
    /// The lock was just taken; the wait for it is over.
    Taken,
    /// The lock is about to be released.
    Releasing,
}

/// Called with the lock held, by the thread that holds it: it must neither block nor take a lock of
/// [`LockName`]. As a thread holds at most one lock at a time, the two events alternate in each
/// thread.
pub type HoldHook = fn(LockName, HoldEvent);

static HOOK: OnceLock<HoldHook> = OnceLock::new();

/// Has `hook` called from now on, for as long as the process lives. A lock that is held just now
/// may be heard of by its release only.
///
/// # Errors
/// The hook itself, if there is one already.
pub fn set_hold_hook(hook: HoldHook) -> Result<(), HoldHook> {
    HOOK.set(hook)
}

#[inline]
pub(crate) fn tell(name: LockName, event: HoldEvent) {
    if let Some(hook) = HOOK.get() {
        hook(name, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mutex, SpinHost};
    use std::cell::RefCell;

    std::thread_local! {
        static SEEN: RefCell<Vec<(LockName, HoldEvent)>> = const { RefCell::new(Vec::new()) };
    }

    #[test]
    fn both_ends_of_a_hold_are_told() {
        let hook: HoldHook = |name, event| SEEN.with_borrow_mut(|seen| seen.push((name, event)));
        set_hold_hook(hook).expect("the first one");
        assert!(set_hold_hook(hook).is_err(), "there is one already");
        let mutex = Mutex::new(LockName::Zone, 7);
        let guard = mutex.lock(&SpinHost);
        let taken = (LockName::Zone, HoldEvent::Taken);
        SEEN.with_borrow(|seen| assert_eq!(*seen, [taken]));
        drop(guard);
        let releasing = (LockName::Zone, HoldEvent::Releasing);
        SEEN.with_borrow(|seen| assert_eq!(*seen, [taken, releasing]));
    }
}
