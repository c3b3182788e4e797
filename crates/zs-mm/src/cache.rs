//! A few free frames for each CPU, so that most allocations meet no zone lock.

use zs_sync::{Host, Mutex, Rank};

/// A handful of frames on their way between a zone, a cache and a caller.
#[derive(Debug, Default)]
pub(crate) struct FrameBatch {
    frames: [u32; Self::CAPACITY],
    len: usize,
}

impl FrameBatch {
    /// Frames committed at a time: populating 32 at once took 0.74 of the time of one by one
    /// (`docs/decisions/0005-commit-in-runs.md`).
    pub(crate) const CAPACITY: usize = 32;

    pub(crate) fn frames(&self) -> &[u32] {
        &self.frames[..self.len]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, frame: u32) {
        self.frames[self.len] = frame;
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<u32> {
        self.len = self.len.checked_sub(1)?;
        Some(self.frames[self.len])
    }

    fn is_full(&self) -> bool {
        self.len == Self::CAPACITY
    }
}

/// The free frames of one CPU: committed, typed free, last in first out.
#[derive(Debug)]
pub(crate) struct FrameCache(Mutex<FrameBatch>);

impl Default for FrameCache {
    fn default() -> Self {
        Self(Mutex::new(Rank::FrameCache, FrameBatch::default()))
    }
}

impl FrameCache {
    pub(crate) fn pop(&self, host: &dyn Host) -> Option<u32> {
        self.0.lock(host).pop()
    }

    /// Keeps `frame`; a full cache hands all but half of its frames out instead of growing.
    pub(crate) fn push(&self, host: &dyn Host, frame: u32) -> FrameBatch {
        let mut cache = self.0.lock(host);
        let mut overflow = FrameBatch::default();
        while cache.is_full() || (!overflow.is_empty() && cache.len > FrameBatch::CAPACITY / 2) {
            if let Some(frame) = cache.pop() {
                overflow.push(frame);
            }
        }
        cache.push(frame);
        overflow
    }

    /// Keeps as many frames of `batch` as there is room for; the rest stay in it.
    pub(crate) fn fill(&self, host: &dyn Host, batch: &mut FrameBatch) {
        let mut cache = self.0.lock(host);
        while !cache.is_full() {
            match batch.pop() {
                Some(frame) => cache.push(frame),
                None => break,
            }
        }
    }

    /// Hands out everything.
    pub(crate) fn drain(&self, host: &dyn Host) -> FrameBatch {
        core::mem::take(&mut self.0.lock(host))
    }

    pub(crate) fn len(&self, host: &dyn Host) -> usize {
        self.0.lock(host).len
    }
}
