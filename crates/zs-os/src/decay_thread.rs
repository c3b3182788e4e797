//! A thread that makes an idle arena decay.

use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use zs_mm::{Arena, Backing};

/// Calls [`Arena::decay`] once in every decay interval of the arena, until it is dropped.
///
/// An arena in use decays by itself; one that falls idle needs this, or a program that calls
/// `decay`. Free memory goes back between one and two intervals after it was last needed. Dropping
/// the value wakes the thread and waits until it has ended, which takes as long as a `decay` that is
/// under way. The thread keeps the arena alive meanwhile.
#[derive(Debug)]
pub struct DecayThread {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: AtomicBool,
    /// Held while `asked` is set or looked at, so that no wake-up falls between look and wait.
    lock: Mutex<()>,
    changed: Condvar,
}

/// An interval of 0 would be a thread that never rests.
const SHORTEST: Duration = Duration::from_millis(1);

impl DecayThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn spawn<B: Backing + 'static>(arena: Arc<Arena<B>>) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let interval = Duration::from_nanos(arena.options().decay_ns).max(SHORTEST);
        let thread = std::thread::Builder::new().name("zs-decay".to_owned());
        let thread = thread.spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.wait(interval) {
                    arena.decay();
                }
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Stop {
    /// Waits for an interval; says, as soon as it is so, that the thread is to stop.
    fn wait(&self, interval: Duration) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Acquire pairs with the Release in `drop`.
        let wanted = |_: &mut ()| !self.asked.load(Ordering::Acquire);
        // A poisoned lock guards nothing that could be wrong.
        let _ = self.changed.wait_timeout_while(guard, interval, wanted);
        self.asked.load(Ordering::Acquire)
    }
}

impl Drop for DecayThread {
    fn drop(&mut self) {
        let guard = self.stop.lock.lock();
        // Release pairs with the Acquire in `wait`.
        self.stop.asked.store(true, Ordering::Release);
        drop(guard);
        self.stop.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A decay that panicked has said so on its own thread.
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use crate::{AnonBacking, HOST};
    use std::time::Instant;
    use zs_mm::ArenaOptions;

    #[test]
    fn a_long_interval_does_not_delay_the_drop() {
        let options = ArenaOptions {
            decay_ns: 3_600_000_000_000,
            ..ArenaOptions::new(2 << 20)
        };
        let arena = Arc::new(Arena::new(AnonBacking, &HOST, options).expect("an arena"));
        let thread = DecayThread::spawn(Arc::clone(&arena)).expect("a thread");
        let start = Instant::now();
        drop(thread);
        assert!(start.elapsed() < Duration::from_secs(60));
        assert_eq!(
            Arc::strong_count(&arena),
            1,
            "the thread let go of the arena"
        );
    }
}
