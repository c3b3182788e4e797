//! A run: who can run, what was met.

use super::chooser::Chooser;
use crate::lock_name;
use core::fmt;
use generator::{Generator, Gn};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// The work of one thread of a run.
pub type Body = Box<dyn FnOnce() + Send>;

/// The seed and the bound of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// All that is random follows from it.
    pub seed: u64,
    /// A run with more points than this has failed: it goes in circles.
    pub most_points: u64,
}

/// The figures of a run: equal for equal seeds and equal code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The seed.
    pub seed: u64,
    /// Points that were passed.
    pub points: u64,
    /// The number of times that another thread went on.
    pub switches: u64,
    /// The number of times that a thread slept until another woke it.
    pub parked: u64,
    /// Every point, its kind and its thread, in order.
    pub hash: u64,
}

/// The point at which a run failed, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The run up to there.
    pub trace: Trace,
    /// The thread that noticed, by its place among the bodies.
    pub thread: usize,
    /// The fault that it noticed.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trace { seed, points, .. } = self.trace;
        let (thread, what) = (self.thread, &self.what);
        write!(f, "seed {seed}, point {points}, thread {thread}: {what}")
    }
}

impl std::error::Error for Failure {}

/// The step after a point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Load = 1,
    Store,
    Change,
    Access,
    Park,
    Unpark,
    Yield,
}

/// Bytes that a thread touches next without any synchronisation of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) write: bool,
}

impl Access {
    fn conflicts(&self, other: &Self) -> bool {
        (self.write || other.write) && self.start < other.end && other.start < self.end
    }
}

/// The state of the thread at a point.
#[derive(Debug)]
pub(super) enum Next {
    GoOn,
    Switch,
    Fail(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Ready,
    /// Asleep on the word at this address.
    Parked(usize),
    Ended,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Run {
    plan: Plan,
    chooser: Chooser,
    /// The thread that runs.
    current: usize,
    standing: Vec<Standing>,
    /// Those that can run.
    ready: Vec<usize>,
    /// The next step of each thread.
    next_access: Vec<Option<Access>>,
    trace: Trace,
    failed: Option<String>,
}

std::thread_local! {
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

/// Calls `f` with the run that the caller is part of; `None` outside of one.
pub(super) fn with_run<T>(f: impl FnOnce(&mut Run) -> T) -> Option<T> {
    // While a thread ends, its thread-locals may be gone: it is in no run.
    let answer = RUN.try_with(|run| run.borrow_mut().as_mut().map(f));
    answer.ok().flatten()
}

/// Returns the place of the calling thread among the bodies; `None` outside of a run.
pub fn thread_index() -> Option<usize> {
    with_run(|run| run.current)
}

impl Run {
    fn new(plan: Plan, threads: usize) -> Self {
        let trace = Trace {
            seed: plan.seed,
            points: 0,
            switches: 0,
            parked: 0,
            hash: 0xcbf2_9ce4_8422_2325,
        };
        Self {
            plan,
            chooser: Chooser::new(plan.seed, threads),
            current: 0,
            standing: vec![Standing::Ready; threads],
            ready: (0..threads).collect(),
            next_access: vec![None; threads],
            trace,
            failed: None,
        }
    }

    /// Passes a point of the thread that runs; with `away`, another goes on if there is one.
    pub(super) fn pass(&mut self, kind: Kind, access: Option<Access>, away: bool) -> Next {
        if thread::panicking() {
            return Next::Fail(PANICKED.into());
        }
        let me = self.current;
        self.next_access[me] = access;
        self.trace.points += 1;
        // FNV-1a, by events in place of bytes.
        let event = (me as u64) << 8 | kind as u64;
        self.trace.hash = (self.trace.hash ^ event).wrapping_mul(0x0000_0100_0000_01b3);
        if self.trace.points > self.plan.most_points {
            return Next::Fail(format!("no end after {} points", self.plan.most_points));
        }
        if let Some(other) = access.and_then(|access| self.meets(access)) {
            return Next::Fail(format!(
                "touches bytes or a cell that thread {other} is about to touch"
            ));
        }
        self.choose(away)
    }

    /// Another thread that is about to touch the same bytes.
    fn meets(&self, mine: Access) -> Option<usize> {
        let mut others = self.next_access.iter().enumerate();
        let conflicts = |theirs: &Access| mine.conflicts(theirs);
        let meets = |(thread, theirs): &(usize, &Option<Access>)| {
            *thread != self.current && theirs.as_ref().is_some_and(conflicts)
        };
        others.find(meets).map(|(thread, _)| thread)
    }

    /// Chooses who goes on; with `away`, another than the one that ran, if any other can.
    fn choose(&mut self, away: bool) -> Next {
        if self.ready.is_empty() {
            return Next::Fail("deadlock: every thread is parked or has ended".into());
        }
        let next = self.chooser.next(self.current, &self.ready, away);
        if next == self.current {
            return Next::GoOn;
        }
        self.current = next;
        self.trace.switches += 1;
        Next::Switch
    }

    fn stand(&mut self, thread: usize, standing: Standing) {
        self.standing[thread] = standing;
        let all = self.standing.iter().enumerate();
        let ready = all.filter(|(_, standing)| **standing == Standing::Ready);
        self.ready = ready.map(|(thread, _)| thread).collect();
    }

    pub(super) fn is_unlucky(&mut self) -> bool {
        self.chooser.one_in(16)
    }

    /// Puts the thread that runs to sleep. Sleep may end early for any reason: sometimes it does.
    pub(super) fn park(&mut self, place: usize) -> Next {
        if !self.is_unlucky() {
            self.stand(self.current, Standing::Parked(place));
            self.trace.parked += 1;
        }
        self.choose(true)
    }

    /// Wakes one of the threads that sleep at a place.
    pub(super) fn unpark(&mut self, place: usize) {
        let asleep = |thread: &usize| self.standing[*thread] == Standing::Parked(place);
        let sleepers: Vec<usize> = (0..self.standing.len()).filter(asleep).collect();
        if !sleepers.is_empty() {
            let woken = sleepers[self.chooser.below(sleepers.len())];
            self.stand(woken, Standing::Ready);
        }
    }

    /// The thread that runs has ended, well or not.
    fn end(&mut self, well: bool) {
        self.next_access[self.current] = None;
        self.stand(self.current, Standing::Ended);
        let all = self.standing.iter().all(|s| *s == Standing::Ended);
        match self.choose(true) {
            _ if !well => self.failed = Some(PANICKED.into()),
            Next::Fail(what) if !all => self.failed = Some(what),
            _ => {}
        }
    }

    /// Returns the thread whose turn it is; `None` when the run is over.
    fn turn(&self) -> Option<usize> {
        let runs = self.failed.is_none() && !self.ready.is_empty();
        runs.then_some(self.current)
    }

    fn outcome(self) -> Result<Trace, Failure> {
        match self.failed {
            None => Ok(self.trace),
            Some(what) => Err(Failure {
                trace: self.trace,
                thread: self.current,
                what,
            }),
        }
    }
}

const PANICKED: &str = "panicked: its message is in the test's output";

/// Bytes of a thread's stack: a panic prints a backtrace on it.
const STACK: usize = 1 << 20;

type Thread = Generator<'static, (), ()>;

/// Runs the bodies, one thread each, by the plan's seed, until all have ended.
///
/// # Errors
/// The first failure. What the bodies hold is then never dropped.
///
/// # Panics
/// If the system gives no thread.
#[expect(clippy::expect_used, reason = "a test cannot go on without threads")]
pub fn run(plan: Plan, bodies: Vec<Body>) -> Result<Trace, Failure> {
    // A fresh one: a run that failed leaves marks of its locks and panics behind.
    let thread = thread::Builder::new().name("schedule".into());
    let thread = thread.spawn(move || conduct(plan, bodies));
    let outcome = thread.expect("a thread").join();
    outcome.expect("what panics in a run is caught there")
}

/// Runs the bodies on this thread, which is then used up.
#[expect(
    clippy::expect_used,
    reason = "nobody but this function sets or takes it"
)]
fn conduct(plan: Plan, bodies: Vec<Body>) -> Result<Trace, Failure> {
    let thread = |body| -> Thread { Gn::new_opt(STACK / size_of::<usize>(), || play(body)) };
    let mut run = Run::new(plan, bodies.len());
    let mut threads: Vec<Thread> = bodies.into_iter().map(thread).collect();
    // Who is first; a run without threads is over.
    let _ = run.choose(false);
    RUN.set(Some(run));
    while let Some(current) = with_run(|run| run.turn()).flatten() {
        threads[current].resume();
    }
    let run = RUN.take().expect("it was set above");
    let outcome = run.outcome();
    if outcome.is_err() {
        // Dropped, they would unwind through whatever they were doing.
        threads.into_iter().for_each(core::mem::forget);
    }
    outcome
}

/// One thread of a run, from its first turn to its end.
fn play(body: Body) {
    lock_name::swap_held(0);
    // A panic mostly stops at the next point, while it unwinds; one that meets none ends here.
    let ended = catch_unwind(AssertUnwindSafe(body));
    with_run(|run| run.end(ended.is_ok()));
}

/// Lets the thread run whose turn it is, and returns when it is this one's again.
#[expect(
    deprecated,
    reason = "its successor wants a reference that a point, deep below, does not have"
)]
pub(super) fn switch() {
    // The marks of held locks are the system's thread's; each thread of the run has its own.
    let held = lock_name::swap_held(0);
    generator::yield_with(());
    lock_name::swap_held(held);
}

/// Fails the run. This thread and the others never go on.
pub(super) fn stop(what: String) -> ! {
    with_run(|run| run.failed = Some(what));
    loop {
        switch();
    }
}
