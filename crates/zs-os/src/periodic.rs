//! A thread that does one thing again and again, until it is dropped.

use crate::fork;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// An interval of 0 would be a thread that never rests.
const SHORTEST: Duration = Duration::from_millis(1);

/// A thread that does one thing again and again. Dropping it wakes it, and waits until it has
/// ended: as long as the work takes that is under way; [`end_within`](Self::end_within) has a
/// bound. In a forked child, where it is not, nothing is waited for.
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
    /// Whether the thread has ended. Held while `asked` is set or looked at, too, so that no
    /// wake-up falls between look and wait.
    ended: Mutex<bool>,
    changed: Condvar,
}

/// Says that the thread has ended, even by a panic.
struct Ending(Arc<Stopping>);

impl PeriodicThread {
    /// Starts a thread that calls `work` after every interval of rest, of 1 ms at least.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn spawn(
        name: &str,
        interval: Duration,
        work: impl FnMut(&Stopping) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(Stopping::default());
        let interval = interval.max(SHORTEST);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn({
            let stop = Arc::clone(&stop);
            move || {
                let ending = Ending(stop);
                // Ours, so that what it holds is let go before the end is told.
                let mut work = work;
                while !ending.0.wait(interval) {
                    work(&ending.0);
                }
            }
        })?;
        Ok(Self {
            owner: fork::process(),
            stop,
            thread: Some(thread),
        })
    }

    /// Wakes the thread, and waits until it has ended and let go what its work holds, but no longer
    /// than `patience`. After that it ends alone, as soon as the work does that is under way.
    /// Says whether it has ended.
    pub fn end_within(mut self, patience: Duration) -> bool {
        if fork::process() != self.owner {
            return true;
        }
        self.stop.ask();
        let ended = self.stop.ended.lock();
        let ended = ended.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .stop
            .changed
            .wait_timeout_while(ended, patience, |ended| !*ended);
        let has_ended = *waited.unwrap_or_else(PoisonError::into_inner).0;
        if !has_ended {
            // Let go: dropping it would wait.
            self.thread = None;
        }
        has_ended
    }
}

impl Stopping {
    /// Says whether the thread is to end. A load.
    pub fn is_asked(&self) -> bool {
        // Acquire pairs with the Release in `drop`.
        self.asked.load(Ordering::Acquire)
    }

    /// Waits for an interval; says, as soon as it is so, that the thread is to stop.
    fn wait(&self, interval: Duration) -> bool {
        let guard = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // A poisoned lock guards nothing that could be wrong.
        let _ = self
            .changed
            .wait_timeout_while(guard, interval, |_| !self.is_asked());
        self.is_asked()
    }

    fn ask(&self) {
        let guard = self.ended.lock();
        // Release pairs with the Acquire in `is_asked`.
        self.asked.store(true, Ordering::Release);
        drop(guard);
        self.changed.notify_all();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let ended = self.0.ended.lock();
        *ended.unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

impl Drop for PeriodicThread {
    fn drop(&mut self) {
        if fork::process() != self.owner {
            // A forked child has no such thread, which may have held the lock.
            return;
        }
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // Work that panicked has said so on its own thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Who lets the thread go waits no longer than asked for, and the thread ends alone.
    #[test]
    fn work_that_hangs_holds_nobody_up() {
        let (begun, has_begun) = mpsc::channel();
        let (go_on, waits) = mpsc::channel::<()>();
        let held = Arc::new(());
        let thread = PeriodicThread::spawn("test", Duration::ZERO, {
            let held = Arc::clone(&held);
            move |_| {
                let _held = &held;
                let _ = begun.send(());
                let _ = waits.recv();
            }
        });
        has_begun.recv().unwrap();
        assert!(!thread.unwrap().end_within(Duration::from_millis(1)));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(go_on);
        // It has ended when what it holds is gone.
        while has_begun.recv().is_ok() {}
    }

    #[test]
    fn who_ends_a_thread_finds_what_it_held_let_go() {
        let held = Arc::new(());
        let thread = PeriodicThread::spawn("test", Duration::from_secs(3600), {
            let held = Arc::clone(&held);
            move |_| drop(Arc::clone(&held))
        });
        assert!(thread.unwrap().end_within(Duration::from_secs(60)));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
