//! Batches of frames copied by several threads.

use core::sync::atomic::{AtomicU64, Ordering};
use std::num::NonZeroUsize;
use std::thread;
use zs_mm::{CopyBatch, CopyEngine};

/// Frames of which each thread gets at least so many: for fewer, starting it costs more than they
/// do.
const FRAMES_PER_THREAD: usize = 16;

/// A copy engine of threads, for [`MigrateMode::SyncNoCopy`](zs_mm::MigrateMode::SyncNoCopy): the
/// calling one, and others that live as long as a batch.
///
/// Where a thread cannot be started, those that there are copy all of it.
#[derive(Debug)]
pub struct CopyThreads {
    threads: NonZeroUsize,
    bytes: AtomicU64,
}

impl CopyThreads {
    /// Makes an engine of at most `threads` threads, the calling one among them.
    pub const fn new(threads: NonZeroUsize) -> Self {
        Self {
            threads,
            bytes: AtomicU64::new(0),
        }
    }

    /// Returns the bytes that the engine has copied.
    pub fn bytes_copied(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn work(&self, batch: &CopyBatch<'_>) {
        let mut bytes = 0;
        while let Some(copy) = batch.take() {
            bytes += copy.bytes() as u64;
            drop(copy);
        }
        // Relaxed: a sum.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl CopyEngine for CopyThreads {
    fn copy(&self, batch: &CopyBatch<'_>) {
        let threads = (batch.frames() / FRAMES_PER_THREAD).clamp(1, self.threads.get());
        thread::scope(|scope| {
            for _ in 1..threads {
                let started = thread::Builder::new()
                    .name("zs-copy".to_owned())
                    .spawn_scoped(scope, || self.work(batch));
                if started.is_err() {
                    break;
                }
            }
            self.work(batch);
        });
    }
}
