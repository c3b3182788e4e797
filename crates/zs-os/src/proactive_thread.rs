//! A thread that compacts before anybody needs whole pageblocks.

use crate::periodic::{PeriodicThread, Stopping};
use std::io;
use std::time::Duration;

/// Calls a closure after every interval of rest, until it is dropped: for the compaction of an
/// arena whose fragmentation is to stay low.
///
/// Nothing compacts in the background unless a program has one of these. The closure calls
/// [`Arena::compact_proactive`](zs_mm::Arena::compact_proactive), say, which looks first whether
/// there is anything to do, and holds what that works on: an `Arc` of the arena, and of the pools
/// whose frames may move.
///
/// Dropping the value wakes the thread and waits until it has ended; a closure that takes its time
/// asks [`Stopping::is_asked`] now and then, to end early. One that panics ends the thread.
#[derive(Debug)]
pub struct ProactiveThread {
    _thread: PeriodicThread,
}

impl ProactiveThread {
    /// Starts the thread; it rests for `interval` (1 ms at least) before each call.
    ///
    /// # Errors
    /// If the system refuses a thread.
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
            // The third would go on for ever.
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
        // Would hang if it waited.
        drop(thread.expect("a thread"));
        assert_eq!(calls.iter().next(), None);
    }
}
