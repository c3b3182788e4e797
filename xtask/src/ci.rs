//! `ci`: every step, two at a time.
//!
//! Data model: `steps in order -> two workers, each takes the first step whose build folder nobody
//! uses -> a child, cargo xtask step NAME, that writes to target/ci/NAME.log -> printed whole when
//! it ended -> a table of times, also in target/ci/summary.txt`.
//!
//! Most steps keep one core busy: a chain of crates that compile one after another, one test that
//! takes long or only waits. Two at a time fill the two cores of a CI machine.
//!
//! `--full` runs the same steps, each for longer. Its summary is committed as
//! `bench/results/ci-full.txt`: the mutations of a short run are chosen by what changed since the
//! commit that it names.
//!
//! # Locking
//!
//! One mutex guards what waits, what runs and what ended. No worker holds it while a step runs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum as _;

use crate::cli::{CiArgs, Depth, Step};
use crate::command::{Cmd, Ended};
use crate::workspace::Workspace;

const WORKERS: usize = 2;

/// This program, also when a build has meanwhile put another in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A step that ended.
#[derive(Debug)]
struct Done {
    step: Step,
    /// Why it failed, in a line; `None` if it passed.
    failure: Option<String>,
    seconds: f64,
    log: PathBuf,
}

impl Done {
    fn passed(&self) -> bool {
        self.failure.is_none()
    }
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
        state.stopped |= !done.passed() && !keep_going;
        state.done.push(done);
        self.ended.notify_all();
    }
}

impl State {
    /// Moves the first step whose build folder is free from `waiting` to `running`.
    fn begin_next(&mut self) -> Option<Step> {
        let in_use = |step: &Step| {
            let folders = step.build_folders();
            let mut theirs = self.running.iter().flat_map(|run| run.build_folders());
            theirs.any(|folder| folders.contains(folder))
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
                    let done = run_step(workspace, step, args.depth(), &logs);
                    if done.passed() {
                        print_log(&done);
                    }
                    queue.put(done, args.keep_going);
                }
            });
        }
    });
    let state = queue.state();
    let failures = || state.done.iter().filter(|done| !done.passed());
    // The log of what failed is read first, so it stands last.
    failures().for_each(print_log);
    let summary = summary(workspace, args.depth(), &state.done, start.elapsed());
    fs::write(logs.join("summary.txt"), &summary)?;
    println!("== summary\n{summary}");
    let failed = failures().count();
    println!("{}", closing_line(state.done.len() - failed, failed, count));
    for done in failures() {
        let why = done.failure.as_deref().unwrap_or_default();
        let name = done.step.name();
        let why = why.strip_prefix(&format!("FAIL {name}: ")).unwrap_or(why);
        println!("FAIL {name}: {why}");
    }
    Ok(failed == 0)
}

/// Runs one step as a child, whose output must not be mixed with another's.
fn run_step(workspace: &Workspace, step: Step, depth: Depth, logs: &Path) -> Done {
    let name = step.name();
    let log = logs.join(format!("{name}.log"));
    println!("-- {name} begins, see {}", log.display());
    let begun = Instant::now();
    let limit = depth.step_limit();
    let mut child = Cmd::new(THIS_PROGRAM, workspace).args(["step", name]);
    if depth == Depth::Full {
        child = child.arg("--full");
    }
    let failure = match child.run_logged(&log, limit) {
        Ok(Ended::Passed) => None,
        Ok(Ended::Failed) => Some(why(&fs::read_to_string(&log).unwrap_or_default())),
        Ok(Ended::TimedOut) => Some(format!("not ended after {} s", limit.as_secs())),
        Err(error) => Some(format!("{error:#}")),
    };
    Done {
        step,
        failure,
        seconds: begun.elapsed().as_secs_f64(),
        log,
    }
}

/// Returns the line of a failed step's log that tells most: its verdict, or the first error of a
/// compiler.
fn why(log: &str) -> String {
    let verdict = log.lines().rev().find(|line| line.starts_with("FAIL "));
    let vague = verdict.is_none_or(|line| line.contains(": the command failed"));
    let mut lines = log.lines();
    let error = lines.find(|line| line.starts_with("error"));
    match (vague, error) {
        (true, Some(error)) => {
            let place = lines.next().map(str::trim).unwrap_or_default();
            let place = if place.starts_with("-->") { place } else { "" };
            format!("{error} {place}").trim_end().to_owned()
        }
        _ => verdict.unwrap_or("it ended without a verdict").to_owned(),
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

/// Returns what ran, on which commit, and how long it took.
fn summary(workspace: &Workspace, depth: Depth, steps: &[Done], whole: Duration) -> String {
    let commit = workspace.commit().unwrap_or_else(|| "unknown".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let command = match depth {
        Depth::Short => "cargo xtask ci",
        Depth::Full => "cargo xtask ci --full",
    };
    let mut text = format!("commit {commit}\ncommand {command}\ncores {cores}\n");
    for done in steps {
        let verdict = if done.passed() { "PASS" } else { "FAIL" };
        let name = done.step.name();
        let _ = writeln!(text, "{verdict} {name:<9} {:>7.1} s", done.seconds);
    }
    let _ = write!(text, "total {:>13.1} s", whole.as_secs_f64());
    text
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
            failure: (!passed).then(|| "a reason".to_owned()),
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

    #[test]
    fn the_line_that_tells_most_is_found() {
        let verdict = "FAIL test: test a failed at src/a.rs:1:2: no";
        assert_eq!(why(&format!("error: x\n{verdict}\nrepeat: y")), verdict);
        let compiler = "error[E0308]: mismatched types\n  --> src/a.rs:1:2\nerror: two\n\
                        FAIL clippy: the command failed (3 s)\n";
        assert_eq!(
            why(compiler),
            "error[E0308]: mismatched types --> src/a.rs:1:2"
        );
        assert_eq!(why("killed"), "it ended without a verdict");
    }
}
