//! Seeded schedules: threads run one at a time, and a seed says who is next.
//!
//! Before every operation on an atomic, before every access of a guarded cell and around every copy
//! into the payload lies a *point*. There the one thread that runs may be told to hand over to
//! another. Everything that happens follows from the seed, so a failure can be had again.
//!
//! Data model: `seed -> Chooser -> who runs next`, asked at each point of a `Run`. The threads are
//! coroutines on one thread of the system, since a switch of real threads costs a thousand times
//! more.
//!
//! | module | responsibility |
//! |---|---|
//! | `run` | a run: who can run, what was met |
//! | `chooser` | random numbers, and who is next |
//! | `atomic` | atomics that pass a point before each operation |
//!
//! What is found beside wrong results: a deadlock (nobody can run), a run without an end (too many
//! points), a lost wake-up (parking is real), and two threads at the same guarded cell or payload
//! bytes at once. Memory is sequentially consistent: weak orders are for loom and ThreadSanitizer.
//!
//! A thread outside of a run passes points freely. A run that fails is left standing: its threads
//! never go on, so that nothing unwinds through half-done operations, and what they hold is lost.
//!
//! # Locking
//!
//! None: the run is a thread-local, borrowed for a moment at each point, never at a switch.

mod atomic;
mod chooser;
mod run;

pub use atomic::{AtomicU32, AtomicU64};
pub use run::{Body, Failure, Plan, Trace, run, thread_index};

use run::{Access, Kind, Next, with_run};
use std::thread;

/// Acts on what the run said at a point.
fn obey(next: Next) {
    match next {
        Next::GoOn => {}
        Next::Switch => run::switch(),
        Next::Fail(what) => run::stop(what),
    }
}

/// A point of the calling thread; free outside of a run.
fn pass(kind: Kind, access: Option<Access>) {
    if let Some(next) = with_run(|run| run.pass(kind, access, false)) {
        obey(next);
    }
}

fn point(kind: Kind) {
    pass(kind, None);
}

/// A point before bytes are touched that nothing but a lock or a word's state guards.
pub(crate) fn access(start: usize, len: usize, write: bool) {
    let end = start + len;
    pass(Kind::Access, Some(Access { start, end, write }));
}

/// Passes a point before `bytes` are read. The run fails if somebody is writing them.
pub fn reading(bytes: &[u8]) {
    access(bytes.as_ptr().addr(), bytes.len(), false);
}

/// Ends the run with a failure: a body found something wrong. Returns only outside of a run, where
/// it does nothing.
pub fn fail(what: &str) {
    if thread_index().is_some() {
        run::stop(what.into());
    }
}

/// Says whether a compare-and-swap that may fail for no reason does so now.
fn fails_spuriously() -> bool {
    with_run(run::Run::is_unlucky).unwrap_or(false)
}

/// Sleeps while the word is `expected`, as [`Host::park`](crate::Host::park) says.
pub(crate) fn park(word: &AtomicU32, expected: u32) {
    point(Kind::Park);
    // Nobody else runs between this look and the sleep, as a futex promises.
    if word.native().load(crate::Ordering::Relaxed) != expected {
        return;
    }
    let place = core::ptr::from_ref(word).addr();
    match with_run(|run| run.park(place)) {
        Some(next) => obey(next),
        None => thread::yield_now(),
    }
}

/// Wakes a thread that sleeps on the word.
pub(crate) fn unpark(word: &AtomicU32) {
    point(Kind::Unpark);
    let place = core::ptr::from_ref(word).addr();
    with_run(|run| run.unpark(place));
}

/// Lets another thread run.
pub(crate) fn yield_now() {
    match with_run(|run| run.pass(Kind::Yield, None, true)) {
        Some(next) => obey(next),
        None => thread::yield_now(),
    }
}
