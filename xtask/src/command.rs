//! Starting other programs: shown before they run, with or without a copy of their output.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::report::Failure;
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
    pub(crate) fn run_and_read(mut self) -> Result<String> {
        let line = self.announce();
        let mut child = self
            .inner
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| line.clone())?;
        let output = copy_lines(&mut child)?;
        let status = child.wait()?;
        ensure(status.success(), line)?;
        Ok(output)
    }

    /// Runs it with both outputs in a file, unannounced; says whether it succeeded.
    pub(crate) fn run_logged(mut self, log: &Path) -> Result<bool> {
        let line = self.line();
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let status = self
            .inner
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .with_context(|| line)?;
        Ok(status.success())
    }

    /// Runs it with both outputs in a file, and kills it and its children after `limit`.
    pub(crate) fn run_into(mut self, log: &Path, limit: Duration) -> Result<Ended> {
        let line = self.announce();
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let mut child = self
            .inner
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // A group of its own, so that the test binary dies together with cargo.
            .process_group(0)
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

/// Passes standard output on, line by line, and keeps a copy.
fn copy_lines(child: &mut Child) -> Result<String> {
    let mut output = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        let mut reader = BufReader::new(pipe);
        let mut terminal = std::io::stdout();
        loop {
            let start = output.len();
            if reader.read_until(b'\n', &mut output)? == 0 {
                break;
            }
            terminal.write_all(&output[start..])?;
            terminal.flush()?;
        }
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}

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
            let group = rustix::process::Pid::from_child(child);
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
            child.wait()?;
            return Ok(Ended::TimedOut);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
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
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("target/loom"), "target/loom");
        assert_eq!(quoted("--cfg zs_loom"), "'--cfg zs_loom'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_hanging_command_is_killed() {
        let mut child = Command::new("sleep")
            .arg("60")
            .process_group(0)
            .spawn()
            .expect("sleep starts");
        let deadline = Instant::now() + Duration::from_millis(50);
        let ended = wait_until(&mut child, deadline).expect("waiting works");
        assert_eq!(ended, Ended::TimedOut);
    }
}
