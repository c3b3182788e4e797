//! Starting other programs: shown before they run, with or without a copy of their output.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::report::Failure;
use crate::test_output::first_failure;
use crate::test_watch::TestWatch;
use crate::workspace::Workspace;

/// How a command ended that ran under a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Passed,
    Failed,
    TimedOut,
}

/// A command about to run.
#[derive(Debug)]
pub(crate) struct Cmd {
    inner: Command,
}

impl Cmd {
    /// `cargo`, in the root of the workspace.
    ///
    /// The name, not the path in `$CARGO`: only the proxy of that name knows `+nightly`.
    pub(crate) fn cargo(workspace: &Workspace) -> Self {
        Self::new("cargo", workspace)
    }

    /// Any program, in the root of the workspace.
    pub(crate) fn new(program: impl AsRef<OsStr>, workspace: &Workspace) -> Self {
        let mut inner = Command::new(program);
        inner.current_dir(workspace.root());
        Self { inner }
    }

    /// A program that was built here, in the root of the workspace.
    pub(crate) fn program(workspace: &Workspace, path: &Path) -> Self {
        let mut inner = Command::new(path);
        inner.current_dir(workspace.root());
        Self { inner }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.inner.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Sets a variable unless the caller's environment has it.
    pub(crate) fn env_default(self, name: &str, value: &str) -> Self {
        if std::env::var_os(name).is_some() {
            self
        } else {
            self.env(name, value)
        }
    }

    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// The command as a shell line.
    pub(crate) fn line(&self) -> String {
        let mut words = Vec::new();
        for (name, value) in self.inner.get_envs() {
            if let Some(value) = value {
                let value = quoted(&value.to_string_lossy());
                words.push(format!("{}={value}", name.to_string_lossy()));
            }
        }
        words.push(quoted(&self.inner.get_program().to_string_lossy()));
        words.extend(
            self.inner
                .get_args()
                .map(|arg| quoted(&arg.to_string_lossy())),
        );
        words.join(" ")
    }

    /// Runs it on the caller's terminal; anything but success is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let line = self.announce();
        let status = self.inner.status().with_context(|| line.clone())?;
        ensure(status.success(), line)
    }

    /// Like [`Self::run`], and returns what it wrote to standard output.
    ///
    /// A test that is over its limit of time ([`TestWatch`]) ends the command; the error names the
    /// test. A test that fails is named, too, with what it said.
    pub(crate) fn run_and_read(mut self) -> Result<String> {
        let line = self.announce();
        let mut watch = TestWatch::new(self.times_as_long());
        let mut child = self
            .inner
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| line.clone())?;
        let output = match copy_watched(&mut child, &mut std::io::stdout(), &mut watch)? {
            Copied::Whole(output) => output,
            Copied::Overdue(test) => {
                kill_tree(&mut child)?;
                let seconds = watch.limit(&test).as_secs();
                let what = format!("test {test} took more than the {seconds} s that it may");
                return Err(Failure::new(what, line).into());
            }
        };
        let status = child.wait()?;
        if status.success() {
            return Ok(output);
        }
        let what = first_failure(&output).unwrap_or_else(|| "the command failed".to_owned());
        Err(Failure::new(what, line).into())
    }

    /// How many times as long as usual the tests of this command run: `ZS_LONG`.
    fn times_as_long(&self) -> u32 {
        let own = self.inner.get_envs().find(|(name, _)| *name == "ZS_LONG");
        let value = match own {
            Some((_, value)) => value.map(OsStr::to_os_string),
            None => std::env::var_os("ZS_LONG"),
        };
        value
            .and_then(|value| value.to_str()?.parse().ok())
            .unwrap_or(1)
    }

    /// Runs it with both outputs in a file; kills it and its children after `limit`.
    pub(crate) fn run_into(self, log: &Path, limit: Duration) -> Result<Ended> {
        self.announce();
        self.run_logged(log, limit)
    }

    /// Like [`Self::run_into`], without a word about it.
    pub(crate) fn run_logged(mut self, log: &Path, limit: Duration) -> Result<Ended> {
        let line = self.line();
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let mut child = self
            .inner
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| line)?;
        wait_until(&mut child, Instant::now() + limit)
    }

    fn announce(&self) -> String {
        let line = self.line();
        println!("$ {line}");
        line
    }
}

fn ensure(success: bool, line: String) -> Result<()> {
    if success {
        return Ok(());
    }
    Err(Failure::new("the command failed", line).into())
}

/// How reading the output of a command ended.
enum Copied {
    /// With the output's end.
    Whole(String),
    /// With a test that is over its limit.
    Overdue(String),
}

/// How often a run is asked whether a test is over its limit.
const LOOK: Duration = Duration::from_secs(1);

/// Passes standard output on to a terminal and keeps a copy, until the output or a test's time
/// ends.
fn copy_watched(
    child: &mut Child,
    terminal: &mut impl Write,
    watch: &mut TestWatch,
) -> Result<Copied> {
    let Some(mut pipe) = child.stdout.take() else {
        return Ok(Copied::Whole(String::new()));
    };
    let (send, receive) = mpsc::channel();
    // It ends with the pipe, or with the first send that nobody receives.
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(len @ 1..) = pipe.read(&mut buffer) {
            if send.send(buffer[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut output = Vec::new();
    let mut line_start = 0;
    loop {
        match receive.recv_timeout(LOOK) {
            Ok(bytes) => {
                output.extend_from_slice(&bytes);
                terminal.write_all(&bytes)?;
                terminal.flush()?;
                line_start = tell(watch, &output, line_start);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Copied::Whole(String::from_utf8_lossy(&output).into_owned()));
            }
        }
        if let Some(test) = watch.overdue(Instant::now()) {
            return Ok(Copied::Overdue(test.to_owned()));
        }
    }
}

/// Tells the watch of all lines from `start` on, and returns where the unfinished one begins.
fn tell(watch: &mut TestWatch, output: &[u8], mut start: usize) -> usize {
    let now = Instant::now();
    while let Some(len) = output[start..].iter().position(|byte| *byte == b'\n') {
        watch.line(&String::from_utf8_lossy(&output[start..start + len]), now);
        start += len + 1;
    }
    watch.unfinished(&String::from_utf8_lossy(&output[start..]), now);
    start
}

/// Waits for a child; kills it and all that it started at the deadline.
fn wait_until(child: &mut Child, deadline: Instant) -> Result<Ended> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() {
                Ended::Passed
            } else {
                Ended::Failed
            });
        }
        if Instant::now() >= deadline {
            kill_tree(child)?;
            return Ok(Ended::TimedOut);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a child and every process below it.
///
/// Each is stopped before its children are looked up, so none can start another meanwhile.
fn kill_tree(child: &mut Child) -> Result<()> {
    let mut waiting = vec![Pid::from_child(child)];
    let mut found = Vec::new();
    while let Some(pid) = waiting.pop() {
        // One that has ended needs nothing more.
        if kill_process(pid, Signal::STOP).is_err() {
            continue;
        }
        waiting.extend(children(pid));
        found.push(pid);
    }
    for pid in found {
        let _ = kill_process(pid, Signal::KILL);
    }
    child.wait()?;
    Ok(())
}

/// Returns the children of all threads of a process.
fn children(pid: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = tasks.into_iter().flatten().flatten();
    lists
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|word| Pid::from_raw(word.parse().ok()?))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("target/loom"), "target/loom");
        assert_eq!(quoted("--cfg zs_loom"), "'--cfg zs_loom'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_hanging_command_is_killed_with_what_it_started() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut below = String::new();
        let pipe = child.stdout.take().expect("a pipe");
        BufReader::new(pipe)
            .read_line(&mut below)
            .expect("the number of its child");
        let deadline = Instant::now() + Duration::from_millis(50);
        let ended = wait_until(&mut child, deadline).expect("waiting works");
        assert_eq!(ended, Ended::TimedOut);
        // Killed, it ends in a moment, and is a zombie until whoever takes it in asks for its end.
        let runs = || {
            let status = fs::read_to_string(format!("/proc/{}/status", below.trim()));
            status.is_ok_and(|text| !text.contains("\nState:\tZ"))
        };
        while runs() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_test_over_its_limit_ends_the_command_and_is_named() {
        let say = "echo 'test a::slow has been running for over 60 seconds'; sleep 60";
        let mut child = Command::new("sh")
            .args(["-c", say])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        // Not to this test's own output: somebody may watch that.
        let mut terminal = Vec::new();
        let mut watch = TestWatch::new(1);
        let copied = copy_watched(&mut child, &mut terminal, &mut watch).expect("a pipe is read");
        kill_tree(&mut child).expect("it is killed");
        assert!(matches!(copied, Copied::Overdue(test) if test == "a::slow"));
    }
}
