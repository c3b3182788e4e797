//! A thread that makes an idle arena decay.

use crate::periodic::PeriodicThread;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use zs_mm::{Arena, Backing};

/// A thread that calls [`Arena::decay`] once in each decay interval of the arena, until this is
/// dropped.
///
/// An arena in use decays by itself. An idle arena needs this thread, or a program that calls
/// `decay`. Free memory goes back between one and two intervals after it was last needed. Dropping
/// the value wakes the thread and waits until it has ended, which may take as long as one call of
/// `decay`. The thread keeps the arena alive.
#[derive(Debug)]
pub struct DecayThread {
    _thread: PeriodicThread,
}

impl DecayThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's error if no thread can be started.
    pub fn spawn<B: Backing + 'static>(arena: Arc<Arena<B>>) -> io::Result<Self> {
        let interval = Duration::from_nanos(arena.options().decay_ns);
        let thread = PeriodicThread::spawn("zs-decay", interval, move |_| {
            arena.decay();
        })?;
        Ok(Self { _thread: thread })
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
