//! A wrapper around a backing, whose watcher sees each call and may fail it.

use super::{Call, Recorded};
use core::fmt;
use core::ptr::NonNull;
use zs_mm::{Advice, Backing, BackingError, RegionKind, ZoneKind, ZoneRefusal};

/// Sees the calls to a [`WatchedBacking`].
pub trait Watcher: Send + Sync + fmt::Debug {
    /// Notes that a call of any kind begins.
    fn begin(&self) {}

    /// Says whether a call should fail. May block: the call is made after this returns.
    fn fails(&self, call: Call, kind: RegionKind) -> bool {
        let _ = (call, kind);
        false
    }

    /// Notes a call that succeeded.
    fn done(&self, call: Recorded) {
        let _ = call;
    }
}

/// A test tool that forwards each call to another backing, unless its watcher fails the call.
///
/// It overrides every default of [`Backing`]: several ranges are forwarded as one call, and forks
/// are seen as by the inner backing.
#[derive(Debug)]
pub struct WatchedBacking<B, W> {
    inner: B,
    watcher: W,
}

impl<B: Backing, W: Watcher> WatchedBacking<B, W> {
    /// Wraps a backing.
    pub fn watched(inner: B, watcher: W) -> Self {
        Self { inner, watcher }
    }

    /// Returns the wrapped backing.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Returns the watcher.
    pub fn watcher(&self) -> &W {
        &self.watcher
    }

    fn enter(&self, call: Call, kind: RegionKind) -> Result<(), BackingError> {
        self.watcher.begin();
        match self.watcher.fails(call, kind) {
            true => Err(BackingError),
            false => Ok(()),
        }
    }
}

// SAFETY: every promise is the wrapped backing's; a call that is failed here does nothing at all.
unsafe impl<B: Backing, W: Watcher> Backing for WatchedBacking<B, W> {
    fn granule(&self) -> usize {
        self.inner.granule()
    }

    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        self.enter(Call::Reserve, kind)?;
        let region = self.inner.reserve(kind, len, align)?;
        let place = region.addr().get();
        self.watcher.done(Recorded::Reserve { kind, place, len });
        Ok(region)
    }

    unsafe fn place_zone(
        &self,
        zone: NonNull<u8>,
        len: usize,
        kind: ZoneKind,
        node: Option<u32>,
    ) -> Result<(), ZoneRefusal> {
        let entered = self.enter(Call::PlaceZone, RegionKind::Payload);
        entered.map_err(|_| ZoneRefusal::System)?;
        // SAFETY: the contract is the same.
        unsafe { self.inner.place_zone(zone, len, kind, node) }?;
        let place = zone.addr().get();
        self.watcher.done(Recorded::PlaceZone {
            place,
            len,
            kind,
            node,
        });
        Ok(())
    }

    unsafe fn release(&self, kind: RegionKind, region: NonNull<u8>, len: usize) {
        self.watcher.begin();
        let place = region.addr().get();
        // SAFETY: the contract is the same.
        unsafe { self.inner.release(kind, region, len) };
        self.watcher.done(Recorded::Release { kind, place, len });
    }

    unsafe fn commit(
        &self,
        kind: RegionKind,
        range: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        self.enter(Call::Commit, kind)?;
        // SAFETY: the contract is the same.
        unsafe { self.inner.commit(kind, range, len) }?;
        let place = range.addr().get();
        self.watcher.done(Recorded::Commit { kind, place, len });
        Ok(())
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        range: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        self.enter(Call::Decommit, kind)?;
        // SAFETY: the contract is the same.
        unsafe { self.inner.decommit(kind, range, len) }?;
        let place = range.addr().get();
        self.watcher.done(Recorded::Decommit { kind, place, len });
        Ok(())
    }

    /// Forwards, as one call, the ranges before the first one that should fail.
    unsafe fn decommit_runs(&self, kind: RegionKind, runs: &[(NonNull<u8>, usize)]) -> usize {
        let refused = runs
            .iter()
            .position(|_| self.enter(Call::Decommit, kind).is_err());
        let runs = runs.get(..refused.unwrap_or(runs.len())).unwrap_or(runs);
        // SAFETY: the contract is the same.
        let gone = unsafe { self.inner.decommit_runs(kind, runs) };
        for &(range, len) in runs.iter().take(gone) {
            let place = range.addr().get();
            self.watcher.done(Recorded::Decommit { kind, place, len });
        }
        gone
    }

    fn process(&self) -> u64 {
        self.inner.process()
    }

    fn child_can_read(&self) -> bool {
        self.inner.child_can_read()
    }

    unsafe fn advise(&self, block: NonNull<u8>, len: usize, advice: Advice) {
        self.watcher.begin();
        let place = block.addr().get();
        // SAFETY: the contract is the same.
        unsafe { self.inner.advise(block, len, advice) };
        self.watcher.done(Recorded::Advise { place, len, advice });
    }
}
