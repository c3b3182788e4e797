//! Batches of frames copied by several threads.

use core::sync::atomic::{AtomicU64, Ordering};
use std::num::NonZeroUsize;
use std::thread;
use zs_mm::{CopyBatch, CopyEngine};

/// The least frames for each thread. For fewer, starting the thread takes longer than the copies.
const FRAMES_PER_THREAD: usize = 16;

/// A copy engine for [`MigrateMode::SyncNoCopy`](zs_mm::MigrateMode::SyncNoCopy). The calling
/// thread copies, and others that are started for each batch.
///
/// If a thread cannot be started, the others copy the whole batch.
#[derive(Debug)]
pub struct CopyThreads {
    threads: NonZeroUsize,
    bytes: AtomicU64,
}

impl CopyThreads {
    /// Makes an engine of at most `threads` threads, with the calling one.
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
