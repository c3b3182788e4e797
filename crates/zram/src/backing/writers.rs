//! Threads that write batches while the pass goes on.
//!
//! batch -> the next thread's queue -> written -> back to the pass, in any order. At most
//! [`IN_FLIGHT`] batches are on their way. The threads are started when a second batch comes, and
//! end with the pass; a short pass writes for itself, and so does one that gets no threads.
//!
//! # Locking
//!
//! None.

use super::file::{BlockFile, panicked, write_all};
use crate::block::content::{Extent, UNIT};
use crate::ids::BlockIndex;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope};
use zs_mm::wide;

/// Batches that are written at once.
const IN_FLIGHT: usize = 4;

/// Records under way to the backing.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) buffer: Vec<u8>,
    pub(crate) places: Vec<(BlockIndex, Extent)>,
}

/// A batch, and how its write ended.
pub(crate) type Written = (Batch, io::Result<()>);

pub(crate) struct Writers<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    file: &'env dyn BlockFile,
    queues: Vec<Sender<Batch>>,
    results: (Sender<Written>, Receiver<Written>),
    started: bool,
    /// Batches that were handed over, and of them those that have come back.
    sent: usize,
    back: usize,
}

impl<'scope, 'env> Writers<'scope, 'env> {
    pub(crate) fn new(scope: &'scope Scope<'scope, 'env>, file: &'env dyn BlockFile) -> Self {
        Self {
            scope,
            file,
            queues: Vec::new(),
            results: channel(),
            started: false,
            sent: 0,
            back: 0,
        }
    }

    /// Has a batch written; returns one that is finished if there were enough on their way.
    pub(crate) fn submit(&mut self, batch: Batch, is_last: bool) -> Option<Written> {
        if !self.started && !is_last {
            self.start();
        }
        if self.queues.is_empty() {
            let outcome = write(self.file, &batch);
            return Some((batch, outcome));
        }
        let queue = &self.queues[self.sent % self.queues.len()];
        // Its thread ends only after this end of the queue.
        if let Err(refused) = queue.send(batch) {
            let batch = refused.0;
            let outcome = write(self.file, &batch);
            return Some((batch, outcome));
        }
        self.sent += 1;
        if self.sent - self.back < IN_FLIGHT {
            return None;
        }
        self.finished()
    }

    /// Returns the next batch that is finished; `None` if none is on its way.
    pub(crate) fn finished(&mut self) -> Option<Written> {
        if self.sent == self.back {
            return None;
        }
        self.back += 1;
        self.results.1.recv().ok()
    }

    fn start(&mut self) {
        self.started = true;
        for _ in 0..IN_FLIGHT {
            let (queue, batches) = channel::<Batch>();
            let (file, results) = (self.file, self.results.0.clone());
            let work = move || {
                for batch in batches {
                    let outcome = write(file, &batch);
                    if results.send((batch, outcome)).is_err() {
                        return;
                    }
                }
            };
            match Builder::new().spawn_scoped(self.scope, work) {
                Ok(_) => self.queues.push(queue),
                Err(_) => return,
            }
        }
    }
}

/// Writes records to their extents, neighbours together.
fn write(file: &dyn BlockFile, batch: &Batch) -> io::Result<()> {
    let runs = || {
        let mut at = 0;
        for run in batch.places.chunk_by(|a, b| a.1.end() == b.1.start) {
            let bytes: usize = run.iter().map(|(_, extent)| extent.bytes()).sum();
            let offset = u64::from(run[0].1.start) * wide(UNIT);
            write_all(file, &batch.buffer[at..at + bytes], offset)?;
            at += bytes;
        }
        Ok(())
    };
    // A file of the caller's own kind that panics must not leave the pass waiting for this batch.
    catch_unwind(AssertUnwindSafe(runs)).unwrap_or_else(|_| panicked())
}
