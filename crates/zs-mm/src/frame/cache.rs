//! A few free frames for each CPU, so that most allocations meet no zone lock.

use crate::size::{FrameId, PageSize};
use zs_sync::{AtomicU32, Host, LockName, Mutex, Ordering};

/// A handful of frames on their way between a zone, a cache and a caller.
#[derive(Debug, Default)]
pub(crate) struct FrameBatch {
    frames: [FrameId; Self::CAPACITY],
    len: usize,
}

impl FrameBatch {
    /// The most frames of a batch.
    pub(crate) const CAPACITY: usize = 32;

    /// Bytes of frames that are committed at a time, and that a cache holds: populating 32 small
    /// frames at once took 0.74 of the time of one by one
    /// (`docs/decisions/0005-commit-in-runs.md`).
    const BYTES: usize = 128 << 10;

    /// Returns the number of frames of this size that are committed at a time, and that a cache
    /// holds.
    pub(crate) fn capacity(page: PageSize) -> usize {
        (Self::BYTES / page.bytes()).clamp(4, Self::CAPACITY)
    }

    pub(crate) fn of_one(frame: FrameId) -> Self {
        let mut batch = Self::default();
        batch.push(frame);
        batch
    }

    pub(crate) fn frames(&self) -> &[FrameId] {
        &self.frames[..self.len]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, frame: FrameId) {
        self.frames[self.len] = frame;
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<FrameId> {
        self.len = self.len.checked_sub(1)?;
        Some(self.frames[self.len])
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// The free frames of one CPU: committed, typed free, last in first out.
///
/// A cache keeps nothing while it is `off`. That is looked at under the cache's lock: who raises it
/// and then drains the cache knows that nothing comes into it afterwards. Relaxed is enough, since
/// the lock of the drain orders the two.
#[derive(Debug)]
pub(crate) struct FrameCache {
    frames: Mutex<FrameBatch>,
    capacity: usize,
}

impl FrameCache {
    /// Makes a cache of at most `capacity` frames.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            frames: Mutex::new(LockName::FrameCache, FrameBatch::default()),
            capacity,
        }
    }

    pub(crate) fn pop(&self, host: &dyn Host) -> Option<FrameId> {
        self.frames.lock(host).pop()
    }

    /// Keeps `frame`; a full cache hands all but half of its frames out instead of growing, and one
    /// that is off hands out the frame.
    pub(crate) fn push(&self, host: &dyn Host, off: &AtomicU32, frame: FrameId) -> FrameBatch {
        let mut cache = self.frames.lock(host);
        let mut overflow = FrameBatch::default();
        if off.load(Ordering::Relaxed) != 0 {
            overflow.push(frame);
            return overflow;
        }
        while cache.len == self.capacity || (!overflow.is_empty() && cache.len > self.capacity / 2)
        {
            if let Some(frame) = cache.pop() {
                overflow.push(frame);
            }
        }
        cache.push(frame);
        overflow
    }

    /// Keeps as many frames of `batch` as there is room for; the rest stay in it.
    pub(crate) fn fill(&self, host: &dyn Host, off: &AtomicU32, batch: &mut FrameBatch) {
        let mut cache = self.frames.lock(host);
        if off.load(Ordering::Relaxed) != 0 {
            return;
        }
        while cache.len < self.capacity {
            match batch.pop() {
                Some(frame) => cache.push(frame),
                None => break,
            }
        }
    }

    /// Hands out everything.
    pub(crate) fn drain(&self, host: &dyn Host) -> FrameBatch {
        core::mem::take(&mut self.frames.lock(host))
    }
}
