//! A thread that does one thing again and again, until it is dropped.

use crate::fork;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// An interval of 0 would be a thread that never rests.
const SHORTEST: Duration = Duration::from_millis(1);

/// A thread that does one thing again and again. Dropping it wakes it, and waits until it has ended: as long as the work
/// takes that is under way. In a forked child, where it is not, nothing is waited for.
#[derive(Debug)]
pub struct PeriodicThread {
    /// The number of the process that has the thread: see `fork`.
    owner: u64,
    stop: Arc<Stopping>,
    thread: Option<JoinHandle<()>>,
}

/// Whether a background thread is to end: what its work asks, if it takes its time.
#[derive(Debug, Default)]
pub struct Stopping {
    asked: AtomicBool,
    /// Held while `asked` is set or looked at, so that no wake-up falls between look and wait.
    lock: Mutex<()>,
    changed: Condvar,
}

impl PeriodicThread {
    /// Starts a thread that calls `work` after every interval of rest, of 1 ms at least.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn spawn(
        name: &str,
        interval: Duration,
        mut work: impl FnMut(&Stopping) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(Stopping::default());
        let interval = interval.max(SHORTEST);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.wait(interval) {
                    work(&stop);
                }
            }
        })?;
        Ok(Self {
            owner: fork::process(),
            stop,
            thread: Some(thread),
        })
    }
}

impl Stopping {
    /// Whether the thread is to end. A load.
    pub fn is_asked(&self) -> bool {
        // Acquire pairs with the Release in `drop`.
        self.asked.load(Ordering::Acquire)
    }

    /// Waits for an interval; says, as soon as it is so, that the thread is to stop.
    fn wait(&self, interval: Duration) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A poisoned lock guards nothing that could be wrong.
        let _ = self
            .changed
            .wait_timeout_while(guard, interval, |()| !self.is_asked());
        self.is_asked()
    }
}

impl Drop for PeriodicThread {
    fn drop(&mut self) {
        if fork::process() != self.owner {
            // A forked child has no such thread, which may have held the lock.
            return;
        }
        let guard = self.stop.lock.lock();
        // Release pairs with the Acquire in `is_asked`.
        self.stop.asked.store(true, Ordering::Release);
        drop(guard);
        self.stop.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // Work that panicked has said so on its own thread.
            let _ = thread.join();
        }
    }
}
