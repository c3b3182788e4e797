//! A backing that fails on demand.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use zs_mm::{Advice, Backing, BackingError, RegionKind, ZoneKind, ZoneRefusal};
use zs_sync::may_call_out;

/// A kind of call that can be counted and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Backing::reserve`].
    Reserve = 0,
    /// [`Backing::commit`].
    Commit = 1,
    /// [`Backing::decommit`].
    Decommit = 2,
    /// [`Backing::place_zone`].
    PlaceZone = 3,
}

impl Call {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Reserve, Self::Commit, Self::Decommit, Self::PlaceZone];
}

/// Which calls fail, counted from 1 since [`FaultControl::set`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None.
    Never,
    /// The n-th alone.
    Nth(u64),
    /// The n-th and all after it.
    From(u64),
    /// Every k-th.
    Every(u64),
}

/// The number of a [`Fault`] in the top two bits, its count below.
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
    /// Calls since the fault was set.
    since: AtomicU64,
    calls: AtomicU64,
    failed: AtomicU64,
    fault: AtomicU64,
}

/// The levers of a [`FaultBacking`]; clones pull the same ones, also while an arena has the backing.
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

    /// Calls of a kind so far, failed ones too.
    pub fn calls(&self, call: Call) -> u64 {
        self.0[call as usize].calls.load(Ordering::Relaxed)
    }

    /// Calls of a kind that were failed on purpose so far.
    pub fn failed(&self, call: Call) -> u64 {
        self.0[call as usize].failed.load(Ordering::Relaxed)
    }

    fn enter(&self, call: Call) -> Result<(), BackingError> {
        assert!(may_call_out(), "{call:?} of the backing with a lock held");
        let counters = &self.0[call as usize];
        counters.calls.fetch_add(1, Ordering::Relaxed);
        let number = counters.since.fetch_add(1, Ordering::Relaxed) + 1;
        if Fault::hits(counters.fault.load(Ordering::Relaxed), number) {
            counters.failed.fetch_add(1, Ordering::Relaxed);
            return Err(BackingError);
        }
        Ok(())
    }
}

/// A test tool: passes every call on to another backing, or fails it on demand.
///
/// Every call also panics if a lock of the core is held by the calling thread (debug builds know).
#[derive(Debug)]
pub struct FaultBacking<B> {
    inner: B,
    control: FaultControl,
}

impl<B: Backing> FaultBacking<B> {
    /// Wraps a backing; nothing fails yet.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            control: FaultControl::default(),
        }
    }

    /// The levers, to be kept when the backing goes into an arena.
    pub fn control(&self) -> FaultControl {
        self.control.clone()
    }

    /// The wrapped backing.
    pub fn inner(&self) -> &B {
        &self.inner
    }
}

// SAFETY: every promise is the wrapped backing's; a call that is failed here does nothing at all.
unsafe impl<B: Backing> Backing for FaultBacking<B> {
    fn granule(&self) -> usize {
        self.inner.granule()
    }

    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        self.control.enter(Call::Reserve)?;
        self.inner.reserve(kind, len, align)
    }

    unsafe fn place_zone(
        &self,
        place: NonNull<u8>,
        len: usize,
        kind: ZoneKind,
        node: Option<u32>,
    ) -> Result<(), ZoneRefusal> {
        self.control
            .enter(Call::PlaceZone)
            .map_err(|_| ZoneRefusal::System)?;
        // SAFETY: the contract is the same.
        unsafe { self.inner.place_zone(place, len, kind, node) }
    }

    unsafe fn release(&self, kind: RegionKind, place: NonNull<u8>, len: usize) {
        assert!(may_call_out(), "release of the backing with a lock held");
        // SAFETY: the contract is the same.
        unsafe { self.inner.release(kind, place, len) };
    }

    unsafe fn commit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        self.control.enter(Call::Commit)?;
        // SAFETY: the contract is the same.
        unsafe { self.inner.commit(kind, place, len) }
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        self.control.enter(Call::Decommit)?;
        // SAFETY: the contract is the same.
        unsafe { self.inner.decommit(kind, place, len) }
    }

    unsafe fn advise(&self, place: NonNull<u8>, len: usize, advice: Advice) {
        assert!(may_call_out(), "advise of the backing with a lock held");
        // SAFETY: the contract is the same.
        unsafe { self.inner.advise(place, len, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_hits_its_calls() {
        let control = FaultControl::default();
        let pattern = |fault| {
            control.set(Call::Commit, fault);
            let fails = |_| control.enter(Call::Commit).is_err();
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
        assert!(control.enter(Call::Commit).is_ok());
    }

    #[cfg(all(debug_assertions, not(zs_loom)))]
    #[test]
    fn a_held_lock_panics() {
        let mutex = zs_sync::Mutex::new(zs_sync::Rank::Zone, ());
        let control = FaultControl::default();
        let calls_with_lock = || {
            let _guard = mutex.lock(&crate::HOST);
            control.enter(Call::Commit)
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(calls_with_lock));
        assert!(outcome.is_err());
        assert!(control.enter(Call::Commit).is_ok());
    }
}
