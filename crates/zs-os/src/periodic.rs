//! A thread that repeats one task until it is dropped.

use crate::fork;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The shortest interval. With 0 the thread would never rest.
const SHORTEST: Duration = Duration::from_millis(1);

/// A thread that repeats one task. Dropping it wakes the thread and waits until it has ended, which
/// may take as long as one call of its work. [`end_within`](Self::end_within) waits for a limited
/// time. A forked child has no such thread, and does not wait.
#[derive(Debug)]
pub struct PeriodicThread {
    /// The number of the process that has the thread, see `fork`.
    owner: u64,
    stop: Arc<Stopping>,
    thread: Option<JoinHandle<()>>,
}

/// The request that a background thread end. Work that takes long asks for it now and then.
#[derive(Debug, Default)]
pub struct Stopping {
    asked: AtomicBool,
    /// The thread has ended. This lock is also held while `asked` is set, and while it is read
    /// before a wait, so that no wake-up is lost in between.
    ended: Mutex<bool>,
    changed: Condvar,
}

/// Notes the end of the thread when it is dropped, also after a panic.
struct EndNotice(Arc<Stopping>);

impl PeriodicThread {
    /// Starts a thread that calls `work` again and again, after a rest of `interval` each (1 ms at
    /// least).
    ///
    /// # Errors
    /// The system's error if no thread can be started.
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
                let notice = EndNotice(stop);
                // Moved into this scope, so that it is dropped before the end is noted.
                let mut work = work;
                while !notice.0.wait(interval) {
                    work(&notice.0);
                }
            }
        })?;
        Ok(Self {
            owner: fork::process(),
            stop,
            thread: Some(thread),
        })
    }

    /// Wakes the thread, and waits for at most `patience` until it has ended and dropped its work.
    /// Returns whether it has. If not, it ends by itself after the current call of its work.
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
            // Detached, because dropping it would wait.
            self.thread = None;
        }
        has_ended
    }
}

impl Stopping {
    /// Says whether the thread should end. Costs a load.
    pub fn is_asked(&self) -> bool {
        // Acquire pairs with the Release in `drop`.
        self.asked.load(Ordering::Acquire)
    }

    /// Waits for an interval. Returns true as soon as the thread should end.
    fn wait(&self, interval: Duration) -> bool {
        let guard = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // A poisoned lock does not matter: the flag is always valid.
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

impl Drop for EndNotice {
    fn drop(&mut self) {
        let ended = self.0.ended.lock();
        *ended.unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

impl Drop for PeriodicThread {
    fn drop(&mut self) {
        if fork::process() != self.owner {
            // A forked child has no such thread. The lock may have been held at the fork.
            return;
        }
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // A panic of the work was reported on its own thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// `end_within` waits no longer than asked for, and the thread then ends by itself.
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
        // The thread has ended when the sender that it holds is gone.
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
