//! A thread that compacts before whole pageblocks are needed.

use crate::periodic::{PeriodicThread, Stopping};
use std::io;
use std::time::Duration;

/// A thread that calls a closure after each interval of rest, until this is dropped. It is for
/// compacting an arena whose fragmentation should stay low.
///
/// Nothing compacts in the background without such a thread. The closure may call
/// [`Arena::compact_proactive`](zs_mm::Arena::compact_proactive), which first checks whether there
/// is work. It holds an `Arc` of the arena, and of the pools whose frames may move.
///
/// Dropping the value wakes the thread and waits until it has ended. A closure that takes long
/// should ask [`Stopping::is_asked`] now and then, to end early. A panic of the closure ends the
/// thread.
#[derive(Debug)]
pub struct ProactiveThread {
    _thread: PeriodicThread,
}

impl ProactiveThread {
    /// Starts the thread. It rests for `interval` (1 ms at least) before each call.
    ///
    /// # Errors
    /// The system's error if no thread can be started.
    pub fn spawn(
        interval: Duration,
        compact: impl FnMut(&Stopping) + Send + 'static,
    ) -> io::Result<Self> {
        let thread = PeriodicThread::spawn("zs-proactive", interval, compact)?;
        Ok(Self { _thread: thread })
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn calls_come_again_and_again_and_a_long_one_is_told_to_end() {
        let (sender, calls) = channel();
        let mut number = 0;
        let thread = ProactiveThread::spawn(Duration::ZERO, move |stopping| {
            number += 1;
            sender.send(number).expect("the test listens");
            // The third call would go on for ever.
            while number == 3 && !stopping.is_asked() {
                std::thread::yield_now();
            }
        });
        let thread = thread.expect("a thread");
        let first: Vec<_> = calls.iter().take(3).collect();
        assert_eq!(first, [1, 2, 3]);
        drop(thread);
        assert_eq!(calls.iter().next(), None, "none after the drop");
    }

    #[test]
    fn a_long_interval_does_not_delay_the_drop() {
        let week = Duration::from_secs(7 * 24 * 3600);
        let (sender, calls) = channel();
        let thread = ProactiveThread::spawn(week, move |_| {
            let _ = sender.send(());
        });
        // This would hang if it waited for the interval.
        drop(thread.expect("a thread"));
        assert_eq!(calls.iter().next(), None);
    }
}
