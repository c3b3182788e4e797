//! A backing that fails on demand.

use super::{Call, WatchedBacking, Watcher};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use zs_mm::{Backing, RegionKind};
use zs_sync::may_call_out;

/// The calls that fail, counted from 1 since [`FaultControl::set`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No call.
    Never,
    /// The n-th call only.
    Nth(u64),
    /// The n-th call and all after it.
    From(u64),
    /// Every k-th call.
    Every(u64),
}

/// The shift of the kind of a [`Fault`]: it lies in the top two bits, and its count below.
const MODE_SHIFT: u32 = 62;
const COUNT_MASK: u64 = (1 << MODE_SHIFT) - 1;

impl Fault {
    fn pack(self) -> u64 {
        let (mode, count) = match self {
            Self::Never => (0, 0),
            Self::Nth(n) => (1, n),
            Self::From(n) => (2, n),
            Self::Every(k) => (3, k.max(1)),
        };
        mode << MODE_SHIFT | (count & COUNT_MASK)
    }

    fn hits(packed: u64, call: u64) -> bool {
        let count = packed & COUNT_MASK;
        match packed >> MODE_SHIFT {
            0 => false,
            1 => call == count,
            2 => call >= count,
            _ => call.is_multiple_of(count),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    /// The calls since the fault was set.
    since: AtomicU64,
    calls: AtomicU64,
    failed: AtomicU64,
    fault: AtomicU64,
}

/// The control of a [`FaultBacking`]. Clones control the same backing, also while an arena owns it.
#[derive(Debug, Clone, Default)]
pub struct FaultControl(Arc<[Counters; 4]>);

impl FaultControl {
    /// Chooses which calls of a kind fail from now on; their count starts again.
    pub fn set(&self, call: Call, fault: Fault) {
        let counters = &self.0[call as usize];
        counters.fault.store(Fault::Never.pack(), Ordering::Relaxed);
        counters.since.store(0, Ordering::Relaxed);
        counters.fault.store(fault.pack(), Ordering::Relaxed);
    }

    /// Lets every call through again.
    pub fn clear(&self) {
        for call in Call::ALL {
            self.set(call, Fault::Never);
        }
    }

    /// Returns the calls of a kind so far, also failed ones.
    pub fn calls(&self, call: Call) -> u64 {
        self.0[call as usize].calls.load(Ordering::Relaxed)
    }

    /// Returns the calls of a kind that were made to fail so far.
    pub fn failed(&self, call: Call) -> u64 {
        self.0[call as usize].failed.load(Ordering::Relaxed)
    }
}

/// A test tool that forwards each call to another backing, or fails it on demand.
///
/// In debug builds each call also panics if the calling thread holds a lock of the core.
pub type FaultBacking<B> = WatchedBacking<B, FaultControl>;

impl<B: Backing> FaultBacking<B> {
    /// Wraps a backing. No call fails yet.
    pub fn new(inner: B) -> Self {
        Self::watched(inner, FaultControl::default())
    }

    /// Returns the control, to keep when the backing is moved into an arena.
    pub fn control(&self) -> FaultControl {
        self.watcher().clone()
    }
}

impl Watcher for FaultControl {
    fn begin(&self) {
        assert!(may_call_out(), "a call of the backing with a lock held");
    }

    fn fails(&self, call: Call, _: RegionKind) -> bool {
        let counters = &self.0[call as usize];
        counters.calls.fetch_add(1, Ordering::Relaxed);
        let number = counters.since.fetch_add(1, Ordering::Relaxed) + 1;
        let hit = Fault::hits(counters.fault.load(Ordering::Relaxed), number);
        if hit {
            counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HeapBacking;

    #[test]
    fn each_fault_hits_its_calls() {
        let control = FaultControl::default();
        let pattern = |fault| {
            control.set(Call::Commit, fault);
            let fails = |_| control.fails(Call::Commit, RegionKind::Payload);
            (1..=6).map(fails).collect::<Vec<_>>()
        };
        assert_eq!(pattern(Fault::Never), [false; 6]);
        assert_eq!(
            pattern(Fault::Nth(2)),
            [false, true, false, false, false, false]
        );
        assert_eq!(
            pattern(Fault::From(3)),
            [false, false, true, true, true, true]
        );
        assert_eq!(
            pattern(Fault::Every(3)),
            [false, false, true, false, false, true]
        );
        assert_eq!(pattern(Fault::Every(0)), [true; 6]);
        assert_eq!(control.calls(Call::Commit), 30);
        assert_eq!(control.failed(Call::Commit), 13);
        assert_eq!(control.calls(Call::Decommit), 0);
        control.clear();
        assert!(!control.fails(Call::Commit, RegionKind::Payload));
    }

    /// Several ranges go to the wrapped backing as one call, up to the first range that should
    /// fail.
    #[test]
    fn the_nth_of_several_ranges_fails() {
        let backing = FaultBacking::new(HeapBacking::new(4096));
        let (kind, len) = (RegionKind::Payload, 4096);
        let region = backing.reserve(kind, 4 * len, len).unwrap();
        // SAFETY: all of a region that nobody else knows.
        unsafe { backing.commit(kind, region, 4 * len) }.unwrap();
        // SAFETY: inside that region.
        let runs = [0, 1, 2, 3].map(|nth| (unsafe { region.add(nth * len) }, len));
        backing.control().set(Call::Decommit, Fault::Nth(3));
        // SAFETY: granules of that region.
        assert_eq!(unsafe { backing.decommit_runs(kind, &runs) }, 2);
        // SAFETY: as above; the fault is over.
        assert_eq!(unsafe { backing.decommit_runs(kind, &runs[2..]) }, 2);
        assert_eq!(backing.control().calls(Call::Decommit), 5);
        assert_eq!(backing.control().failed(Call::Decommit), 1);
        // SAFETY: as it was reserved.
        unsafe { backing.release(kind, region, 4 * len) };
    }

    /// A fork is seen through the wrapper.
    #[test]
    fn a_fork_is_seen_as_the_wrapped_backing_sees_it() {
        let inner = crate::AnonBacking::new();
        let backing = FaultBacking::new(crate::AnonBacking::new());
        assert_eq!(backing.process(), inner.process());
        assert_ne!(
            backing.process(),
            0,
            "the default of a backing that knows no forks"
        );
    }

    #[cfg(all(debug_assertions, not(zs_loom)))]
    #[test]
    fn a_held_lock_panics() {
        let mutex = zs_sync::Mutex::new(zs_sync::LockName::Zone, ());
        let control = FaultControl::default();
        let calls_with_lock = || {
            let _guard = mutex.lock(&crate::HOST);
            control.begin();
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(calls_with_lock));
        assert!(outcome.is_err());
        control.begin();
    }
}
