//! Batches of frames to be copied, and who copies them.

use crate::size::wide;
use core::fmt;
use zs_sync::{AtomicU32, Ordering, Payload};

/// Copies batches of frames: the calling thread, several threads, a DMA engine.
///
/// An engine cannot lose anything: what it leaves, or forgets, is copied by the caller.
pub trait CopyEngine: Sync + fmt::Debug {
    /// Takes copies from the batch ([`CopyBatch::take`]) until there are none, in as many threads
    /// as it likes, and does them.
    fn copy(&self, batch: &CopyBatch<'_>);
}

/// The calling thread copies.
#[derive(Debug)]
pub(super) struct Inline;

impl CopyEngine for Inline {
    fn copy(&self, batch: &CopyBatch<'_>) {
        batch.copy_rest();
    }
}

/// Where one frame's bytes are, and where they go: offsets in the payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyPlan {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Frames to be copied, each once, by whoever takes it. Shared between the threads of an engine.
///
/// # Invariants
/// Nobody writes to the source of a plan, and nobody but the batch uses its destination, until the
/// batch has ended (`finish`). Both are committed.
pub struct CopyBatch<'a> {
    payload: &'a Payload,
    plans: &'a [CopyPlan],
    bytes: usize,
    next: AtomicU32,
    done: AtomicU32,
}

impl fmt::Debug for CopyBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyBatch")
            .field("frames", &self.plans.len())
            .finish_non_exhaustive()
    }
}

/// The copy of one frame; done when this is dropped.
#[derive(Debug)]
#[must_use = "the frame is copied when this is dropped"]
pub struct FrameCopy<'a> {
    batch: &'a CopyBatch<'a>,
    plan: CopyPlan,
}

impl<'a> CopyBatch<'a> {
    /// Makes a batch of copies of `bytes` bytes each.
    ///
    /// # Safety
    /// The type's invariant.
    pub(super) unsafe fn new(payload: &'a Payload, plans: &'a [CopyPlan], bytes: usize) -> Self {
        Self {
            payload,
            plans,
            bytes,
            next: AtomicU32::new(0),
            done: AtomicU32::new(0),
        }
    }

    /// Returns the number of frames of the batch.
    pub fn frames(&self) -> usize {
        self.plans.len()
    }

    /// Returns the number of bytes of the batch.
    pub fn bytes(&self) -> u64 {
        wide(self.plans.len() * self.bytes)
    }

    /// Returns the next frame that nobody has taken yet.
    pub fn take(&self) -> Option<FrameCopy<'_>> {
        // Relaxed: the number alone is taken; `done` publishes the bytes. Never beyond the end,
        // however often an engine asks.
        let next = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                ((next as usize) < self.plans.len()).then(|| next + 1)
            });
        let plan = *self.plans.get(next.ok()? as usize)?;
        Some(FrameCopy { batch: self, plan })
    }

    /// Copies what nobody has taken yet.
    pub fn copy_rest(&self) {
        while let Some(copy) = self.take() {
            drop(copy);
        }
    }

    /// Copies the rest, once the engine has returned: what it took, and forgot, too.
    pub(super) fn finish(&self) {
        self.copy_rest();
        // Acquire pairs with the Release of each copy's end: its bytes are there.
        if (self.done.load(Ordering::Acquire) as usize) < self.plans.len() {
            // Nobody has a copy of the batch any more, for it was lent to the engine: all of it
            // once more.
            self.next.store(0, Ordering::Relaxed);
            self.copy_rest();
        }
    }
}

impl FrameCopy<'_> {
    /// Returns the number of bytes that are copied.
    pub fn bytes(&self) -> usize {
        self.batch.bytes
    }
}

impl Drop for FrameCopy<'_> {
    fn drop(&mut self) {
        let (batch, plan) = (self.batch, self.plan);
        // SAFETY: by the batch's invariant nobody writes to the source, which is committed, until
        // the batch has ended; this copy is borrowed from it.
        let source = unsafe { batch.payload.bytes(plan.from, batch.bytes) };
        // SAFETY: by the batch's invariant the destination is committed and the batch's alone, and
        // each plan is taken once; again only when nobody else is left (`finish`).
        unsafe { batch.payload.write(plan.to, source) };
        // Release pairs with the Acquire in `finish`.
        batch.done.fetch_add(1, Ordering::Release);
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use core::ptr::NonNull;

    /// Takes some, keeps one, forgets one, and goes away.
    #[derive(Debug)]
    struct Lazy;

    impl CopyEngine for Lazy {
        fn copy(&self, batch: &CopyBatch<'_>) {
            let _ = batch.take();
            core::mem::forget(batch.take());
            let kept = batch.take();
            std::thread::scope(|scope| drop(scope.spawn(move || drop(kept))));
        }
    }

    #[test]
    fn what_an_engine_leaves_is_copied_all_the_same() {
        let mut bytes: Vec<u8> = (0..128).map(|byte| byte / 16).collect();
        let place = NonNull::from(bytes.as_mut_slice()).cast::<u8>();
        // SAFETY: the vector outlives the payload, and nobody else uses it meanwhile.
        let payload = unsafe { Payload::from_reserved(place, 128) };
        let plans = [0, 16, 32, 48].map(|from| CopyPlan {
            from,
            to: from + 64,
        });
        // SAFETY: the plans' ranges are disjoint parts of the vector.
        let batch = unsafe { CopyBatch::new(&payload, &plans, 16) };
        assert_eq!((batch.frames(), batch.bytes()), (4, 64));
        Lazy.copy(&batch);
        batch.finish();
        assert!(batch.take().is_none());
        // SAFETY: nobody writes any more.
        let from = unsafe { payload.bytes(0, 64) };
        // SAFETY: as above.
        let to = unsafe { payload.bytes(64, 64) };
        assert_eq!(from, to);
        assert_eq!(to[63], 3);
    }
}
