//! `ci`: every step, two at a time.
//!
//! Data model: `steps in order -> two workers, each takes the first step whose build folder nobody uses ->
//! a child, cargo xtask step NAME, that writes to target/ci/NAME.log -> printed whole when it ended`.
//!
//! Most steps keep one core busy: a chain of crates that compile one after another, one test that takes long
//! or only waits. Two at a time fill the two cores of a CI machine.
//!
//! # Locking
//!
//! One mutex guards what waits, what runs and what ended. No worker holds it while a step runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum as _;

use crate::cli::{CiArgs, Step};
use crate::command::Cmd;
use crate::workspace::Workspace;

const WORKERS: usize = 2;

/// This program, also when a build has meanwhile put another in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A step that ended.
#[derive(Debug)]
struct Done {
    step: Step,
    passed: bool,
    seconds: f64,
    log: PathBuf,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of the run.
    waiting: Vec<Step>,
    running: Vec<Step>,
    done: Vec<Done>,
    /// Nothing more is to begin.
    stopped: bool,
}

/// What the workers share.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// A step ended: its build folder is free.
    ended: Condvar,
}

impl Queue {
    fn new(steps: Vec<Step>) -> Self {
        let state = State {
            waiting: steps,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            ended: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next step that may begin, once there is one; `None` when nothing more is to begin.
    fn take(&self) -> Option<Step> {
        let mut state = self.state();
        loop {
            if state.stopped || state.waiting.is_empty() {
                return None;
            }
            if let Some(step) = state.begin_next() {
                return Some(step);
            }
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, done: Done, keep_going: bool) {
        let mut state = self.state();
        state.running.retain(|step| *step != done.step);
        state.stopped |= !done.passed && !keep_going;
        state.done.push(done);
        self.ended.notify_all();
    }
}

impl State {
    /// Moves the first step whose build folder is free from `waiting` to `running`.
    fn begin_next(&mut self) -> Option<Step> {
        let in_use = |step: &Step| {
            let folder = step.build_folder();
            self.running.iter().any(|run| run.build_folder() == folder)
        };
        let place = self.waiting.iter().position(|step| !in_use(step))?;
        let step = self.waiting.remove(place);
        self.running.push(step);
        Some(step)
    }
}

/// Runs the steps and says whether all of them passed.
pub(crate) fn run(workspace: &Workspace, args: &CiArgs) -> Result<bool> {
    let start = Instant::now();
    // The order of the enum is the order of the run.
    let steps: Vec<Step> = Step::value_variants()
        .iter()
        .copied()
        .filter(|step| !args.skip.contains(step))
        .collect();
    let count = steps.len();
    let logs = workspace.target_dir("ci");
    fs::create_dir_all(&logs)?;
    let queue = Queue::new(steps);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(step) = queue.take() {
                    let done = run_step(workspace, step, &logs);
                    if done.passed {
                        print_log(&done);
                    }
                    queue.put(done, args.keep_going);
                }
            });
        }
    });
    let state = queue.state();
    // What failed is read first, so it stands last.
    state
        .done
        .iter()
        .filter(|done| !done.passed)
        .for_each(print_log);
    print_times(&state.done);
    println!("total {:>13.1} s", start.elapsed().as_secs_f64());
    let failed = state.done.iter().filter(|done| !done.passed).count();
    println!("{}", closing_line(state.done.len() - failed, failed, count));
    Ok(failed == 0)
}

/// Runs one step as a child, whose output must not be mixed with another's.
fn run_step(workspace: &Workspace, step: Step, logs: &Path) -> Done {
    let name = step.name();
    let log = logs.join(format!("{name}.log"));
    println!("-- {name} begins, see {}", log.display());
    let begun = Instant::now();
    let passed = Cmd::new(THIS_PROGRAM, workspace)
        .args(["step", name])
        .run_logged(&log)
        .unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            false
        });
    Done {
        step,
        passed,
        seconds: begun.elapsed().as_secs_f64(),
        log,
    }
}

/// In one piece: the other worker prints, too.
fn print_log(done: &Done) {
    let name = done.step.name();
    match fs::read(&done.log) {
        Ok(text) => println!("== {name}\n{}", String::from_utf8_lossy(&text).trim_end()),
        Err(error) => println!("== {name}\n{}: {error}", done.log.display()),
    }
}

fn print_times(steps: &[Done]) {
    println!("== times");
    for done in steps {
        let verdict = if done.passed { "PASS" } else { "FAIL" };
        let name = done.step.name();
        println!("{verdict} {name:<9} {:>7.1} s", done.seconds);
    }
}

fn closing_line(passed: usize, failed: usize, steps: usize) -> String {
    match steps - passed - failed {
        0 => format!("ci: {passed} passed, {failed} failed"),
        rest => format!("ci: {passed} passed, {failed} failed, {rest} not run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(step: Step, passed: bool) -> Done {
        Done {
            step,
            passed,
            seconds: 0.0,
            log: PathBuf::new(),
        }
    }

    #[test]
    fn two_steps_never_share_a_build_folder() {
        let queue = Queue::new(vec![Step::Clippy, Step::Test, Step::Loom]);
        assert_eq!(queue.take(), Some(Step::Clippy));
        assert_eq!(queue.take(), Some(Step::Loom), "tests wait for clippy");
        queue.put(done(Step::Clippy, true), false);
        assert_eq!(queue.take(), Some(Step::Test));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn after_a_failure_nothing_begins_unless_asked_for() {
        for keep_going in [false, true] {
            let queue = Queue::new(vec![Step::Clippy, Step::Test]);
            assert_eq!(queue.take(), Some(Step::Clippy));
            queue.put(done(Step::Clippy, false), keep_going);
            assert_eq!(queue.take().is_some(), keep_going);
        }
    }

    #[test]
    fn the_closing_line_tells_what_did_not_run() {
        assert_eq!(closing_line(11, 0, 11), "ci: 11 passed, 0 failed");
        assert_eq!(closing_line(3, 1, 11), "ci: 3 passed, 1 failed, 7 not run");
    }
}
