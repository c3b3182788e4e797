//! The thread: it waits, calls the closure, rests, stops.

use super::watched::{Pressure, Watched};
use super::{PressureError, PressureSource};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A thread that calls a closure whenever memory is short, until this is dropped.
///
/// The closure runs on the watcher's own thread. It decides which memory to give back, for example
/// by `shrink` and `trim` of a pool, or by [`Arena::trim`](zs_mm::Arena::trim). Calls never
/// overlap. They come at most once in each window of the trigger, or interval of the source.
///
/// Dropping the value wakes the thread and waits until it has ended, which may take as long as one
/// call of the closure. The closure may drop its own watcher, and is then not called again.
///
/// A panic of the closure ends the watch without a call for [`Pressure::Ended`]. Its message comes
/// from the thread `zs-pressure`. Afterwards [`is_running`](Self::is_running) returns false, and
/// [`stop`](Self::stop) returns the panic.
///
/// ```no_run
/// use std::{sync::Arc, time::Duration};
/// use zs_mm::{Arena, ArenaOptions};
/// use zs_os::{AnonBacking, HOST, Pressure, PressureSource, PressureWatcher, own_cgroup};
///
/// let arena = Arc::new(Arena::new(AnonBacking, &HOST, ArenaOptions::new(1 << 30))?);
/// let source = PressureSource::GroupEvents {
///     group: own_cgroup()?,
///     interval: Duration::from_millis(100),
/// };
/// let watcher = PressureWatcher::spawn(&source, {
///     let arena = Arc::clone(&arena);
///     move |pressure| match pressure {
///         Pressure::Ended(why) => eprintln!("nobody watches memory now: {why}"),
///         // A pool that can do without some of its objects shrinks first.
///         _ => drop(arena.trim()),
///     }
/// })?;
/// # drop(watcher);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PressureWatcher {
    stop: Arc<StopSignal>,
    thread: Option<JoinHandle<()>>,
}

impl PressureWatcher {
    /// Starts to watch `source`. Earlier events do not count.
    ///
    /// # Errors
    /// [`PressureError`] if the source cannot be watched. Each error names its file and a remedy.
    pub fn spawn(
        source: &PressureSource,
        on_pressure: impl FnMut(&Pressure) + Send + 'static,
    ) -> Result<Self, PressureError> {
        Self::start(source.open()?, on_pressure)
    }

    fn start(
        watched: Box<dyn Watched>,
        mut on_pressure: impl FnMut(&Pressure) + Send + 'static,
    ) -> Result<Self, PressureError> {
        let stop = Arc::new(StopSignal::new().map_err(PressureError::Thread)?);
        let thread = thread::Builder::new().name("zs-pressure".to_owned());
        let thread = thread.spawn({
            let stop = Arc::clone(&stop);
            move || {
                if let Err(why) = watch(watched, &stop, &mut on_pressure) {
                    on_pressure(&Pressure::Ended(why));
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread.map_err(PressureError::Thread)?),
        })
    }

    /// Says whether the source is still watched. It is not after [`Pressure::Ended`], nor after a
    /// panic of the closure.
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Stops the watch as a drop does, and returns the outcome of the closure.
    ///
    /// # Errors
    /// The panic of the closure. Never if the closure itself calls this.
    pub fn stop(mut self) -> thread::Result<()> {
        self.end()
    }

    fn end(&mut self) -> thread::Result<()> {
        self.stop.ask();
        match self.thread.take() {
            // A thread cannot wait for its own end.
            Some(thread) if thread.thread().id() != thread::current().id() => thread.join(),
            _ => Ok(()),
        }
    }
}

impl Drop for PressureWatcher {
    fn drop(&mut self) {
        // A panic of the closure was reported on its own thread.
        let _ = self.end();
    }
}

/// Watches until asked to stop. An error is the reason why watching has ended.
fn watch(
    mut watched: Box<dyn Watched>,
    stop: &StopSignal,
    on_pressure: &mut impl FnMut(&Pressure),
) -> Result<(), PressureError> {
    while let Some(woken) = stop.wait_for(watched.file(), watched.idle())? {
        if let Some(pressure) = watched.look(woken)? {
            on_pressure(&pressure);
        }
        if stop.rest(watched.rest())? {
            break;
        }
    }
    Ok(())
}

/// The request to stop, as a descriptor for `poll`.
#[derive(Debug)]
struct StopSignal(OwnedFd);

impl StopSignal {
    fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC)?))
    }

    fn ask(&self) {
        // The counter is never read, and 1 does not overflow it.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until `file` is ready, for `time` at most. Returns `None` as soon as the thread should
    /// stop.
    fn wait_for(
        &self,
        file: BorrowedFd<'_>,
        time: Option<Duration>,
    ) -> Result<Option<PollFlags>, PressureError> {
        let mut files = [
            PollFd::new(&self.0, PollFlags::IN),
            PollFd::from_borrowed_fd(file, PollFlags::PRI),
        ];
        wait(&mut files, time)?;
        let [stop, file] = files.map(|file| file.revents());
        Ok(stop.is_empty().then_some(file))
    }

    /// Waits for a time. Returns true as soon as the thread should stop.
    fn rest(&self, time: Duration) -> Result<bool, PressureError> {
        let mut files = [PollFd::new(&self.0, PollFlags::IN)];
        wait(&mut files, Some(time))?;
        Ok(!files[0].revents().is_empty())
    }
}

fn wait(files: &mut [PollFd<'_>], time: Option<Duration>) -> Result<(), PressureError> {
    // A time too long for the system's clock means for ever.
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    loop {
        match poll(files, time.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(PressureError::Thread(error.into())),
        }
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::path::PathBuf;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Instant;

    /// A source with pressure at every look, and a file that never wakes. It has no rest unless one
    /// is set.
    struct Always {
        file: OwnedFd,
        idle: Option<Duration>,
        rest: Duration,
        looks: Option<usize>,
    }

    impl Always {
        #[expect(clippy::expect_used, reason = "a helper of tests")]
        fn new(looks: Option<usize>) -> Box<Self> {
            Box::new(Self {
                file: eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"),
                idle: Some(Duration::ZERO),
                rest: Duration::ZERO,
                looks,
            })
        }
    }

    impl Watched for Always {
        fn file(&self) -> BorrowedFd<'_> {
            self.file.as_fd()
        }

        fn idle(&self) -> Option<Duration> {
            self.idle
        }

        fn rest(&self) -> Duration {
            self.rest
        }

        fn look(&mut self, woken: PollFlags) -> Result<Option<Pressure>, PressureError> {
            assert!(woken.is_empty(), "nothing woke it");
            if self.looks == Some(0) {
                let path = PathBuf::from("/group");
                return Err(PressureError::GroupRemoved { path });
            }
            self.looks = self.looks.map(|looks| looks - 1);
            Ok(Some(Pressure::Stalled))
        }
    }

    #[test]
    fn the_last_call_says_why_and_none_comes_after_it() {
        let (sender, calls) = channel();
        let watcher = PressureWatcher::start(Always::new(Some(3)), move |pressure| {
            sender.send(format!("{pressure:?}")).expect("a receiver");
        });
        let watcher = watcher.expect("a thread");
        // The end of the thread drops the closure, and with it the sender.
        let calls: Vec<String> = calls.iter().collect();
        let ended = "Ended(GroupRemoved { path: \"/group\" })";
        assert_eq!(calls, ["Stalled", "Stalled", "Stalled", ended]);
        while watcher.is_running() {
            // The thread runs its last instructions.
            thread::yield_now();
        }
        watcher.stop().expect("no panic");
    }

    #[test]
    fn a_drop_does_not_wait_for_an_idle_source() {
        let held = Arc::new(());
        for idle in [None, Some(Duration::MAX)] {
            let mut source = Always::new(None);
            source.idle = idle;
            let closures = Arc::clone(&held);
            let watcher = PressureWatcher::start(source, move |_| drop(Arc::clone(&closures)));
            let watcher = watcher.expect("a thread");
            assert!(watcher.is_running());
            drop(watcher);
            assert_eq!(Arc::strong_count(&held), 1, "the closure is gone");
        }
    }

    #[test]
    fn a_drop_does_not_wait_for_the_rest_after_a_call() {
        let mut source = Always::new(None);
        source.rest = Duration::MAX;
        let (sender, calls) = channel();
        let watcher = PressureWatcher::start(source, move |_| sender.send(()).expect("sent"));
        calls.recv().expect("a first call");
        drop(watcher);
        assert_eq!(calls.iter().count(), 0, "it rested, and was then dropped");
    }

    #[test]
    fn a_burst_makes_one_call_in_each_interval() {
        const CALLS: u32 = 20;
        let mut source = Always::new(Some(CALLS as usize));
        source.rest = Duration::from_millis(3);
        let least = source.rest * CALLS;
        let start = Instant::now();
        let (sender, calls) = channel();
        let watcher = PressureWatcher::start(source, move |_| sender.send(()).expect("sent"));
        assert_eq!(calls.iter().count(), CALLS as usize + 1);
        assert!(start.elapsed() >= least, "{:?}", start.elapsed());
        drop(watcher);
    }

    #[test]
    fn a_panic_of_the_closure_ends_the_watch_and_is_handed_over() {
        let (sender, calls) = channel();
        let watcher = PressureWatcher::start(Always::new(None), move |_| {
            sender.send(()).expect("a receiver");
            panic!("no trim today");
        });
        let watcher = watcher.expect("a thread");
        assert_eq!(calls.iter().count(), 1);
        let panic = watcher.stop().expect_err("it panicked");
        assert_eq!(panic.downcast_ref(), Some(&"no trim today"));
    }

    #[test]
    fn the_closure_may_drop_its_own_watcher() {
        let slot = Arc::new(Mutex::new(None::<PressureWatcher>));
        let calls = Arc::new(AtomicUsize::new(0));
        let (sender, gone) = channel::<()>();
        let closure = {
            let (slot, calls) = (Arc::clone(&slot), Arc::clone(&calls));
            move |_: &Pressure| {
                let _goes_with_the_closure = &sender;
                drop(slot.lock().expect("no panic").take());
                calls.fetch_add(1, Ordering::Relaxed);
            }
        };
        // The lock is held until the watcher is stored, so that the first call waits for it.
        let mut held = slot.lock().expect("no panic");
        *held = Some(PressureWatcher::start(Always::new(None), closure).expect("a thread"));
        drop(held);
        assert!(gone.recv().is_err(), "the thread ended");
        assert_eq!(calls.load(Ordering::Relaxed), 1, "one, and it returned");
    }
}
