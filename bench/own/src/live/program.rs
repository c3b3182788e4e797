//! Programs that fill memory with typical data and wait until their standard input closes.

use super::redis;
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// Most memory that node may keep, over what it is to fill.
const NODE_HEADROOM: u64 = 2;

/// A redis server that ends when standard input closes, whoever closes it. Its own log follows the
/// first line; only the server has the pipe then, so that the log ends when the server does.
const REDIS: &str =
    r#"redis-server "$@" < /dev/null & echo "ready $!"; exec > /dev/null; cat; kill "$!"; wait"#;

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Python,
    Node,
    Redis,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Python, Self::Node, Self::Redis];

    fn executable(self) -> &'static str {
        match self {
            Self::Python => "python3",
            Self::Node => "node",
            Self::Redis => "redis-server",
        }
    }

    /// How somebody who lacks the program gets it.
    pub(super) fn way_to_get(self) -> String {
        let package = match self {
            Self::Python => "python3",
            Self::Node => "nodejs",
            Self::Redis => "redis-server",
        };
        format!("on Debian or Ubuntu, `apt-get install {package}`")
    }

    /// What the program calls itself; `None` if it is not installed.
    pub(super) fn version(self) -> Option<String> {
        let mut command = Command::new(self.executable());
        let said = command.arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&said.stdout);
        said.status.success().then(|| text.trim().to_owned())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.executable())
    }
}

/// A program that is filled and waits; it ends when this is dropped, or this process ends.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    pid: u32,
    /// Of a server: where its socket lies. Readable for its owner only.
    _folder: Option<TempDir>,
}

impl Program {
    /// Starts a program, and returns when it has filled so many bytes of anonymous memory, or a
    /// little more.
    pub(super) fn start(kind: Kind, bytes: u64) -> Result<Self> {
        let (mut command, folder) = command(kind, bytes)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("{kind} cannot be started"))?;
        let mut lines = BufReader::new(child.stdout.take().context("no pipe")?);
        // From here on, it is ended also if it fails.
        let mut program = Self {
            child,
            pid: 0,
            _folder: folder,
        };
        let first = line(&mut lines)?;
        let pid = first.strip_prefix("ready ").map(|pid| pid.trim().parse());
        let Some(Ok(pid)) = pid else {
            bail!("{kind} ended before it was filled");
        };
        program.pid = pid;
        if let Some(folder) = &program._folder {
            wait_until_served(&mut lines)?;
            redis::fill(&socket(folder), pid, bytes)?;
        }
        Ok(program)
    }

    /// The number of the process that holds the memory, not of a shell before it.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended by itself.
        let _ = self.child.wait();
    }
}

fn command(kind: Kind, bytes: u64) -> Result<(Command, Option<TempDir>)> {
    let mut command;
    match kind {
        Kind::Python => {
            command = Command::new(kind.executable());
            command.args(["-c", include_str!("fill.py"), &bytes.to_string()]);
        }
        Kind::Node => {
            let most = (bytes * NODE_HEADROOM) >> 20;
            command = Command::new(kind.executable());
            command
                // The reducer collects once more when nothing happens, while the memory is read.
                .args(["--random-seed=1", "--expose-gc", "--no-memory-reducer"])
                .arg(format!("--max-old-space-size={most}"))
                .args(["-e", include_str!("fill.js"), &bytes.to_string()]);
        }
        Kind::Redis => {
            let folder = tempfile::Builder::new()
                .prefix("bench-own-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir()
                .context("no folder for the socket can be made")?;
            command = Command::new("sh");
            command
                .args(["-c", REDIS, "sh", "--port", "0", "--unixsocket"])
                .arg(socket(&folder))
                .args(["--save", "", "--appendonly", "no", "--dir"])
                .arg(folder.path());
            return Ok((command, Some(folder)));
        }
    }
    Ok((command, None))
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("redis.sock")
}

/// Waits for the line of its log by which a redis server says that its socket is there.
fn wait_until_served(lines: &mut BufReader<ChildStdout>) -> Result<()> {
    let mut log = String::new();
    while !log.contains("eady to accept connections") {
        let line = line(lines)?;
        if line.is_empty() {
            bail!("redis-server ended before it was filled; it said:\n{log}");
        }
        log.push_str(&line);
    }
    Ok(())
}

/// The next line that a program says; nothing at its end.
fn line(lines: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    lines.read_line(&mut line).context("a program's output")?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_early_is_said_to() {
        let mut child = Command::new("sh");
        let child = child.args(["-c", "echo no memory"]).stdout(Stdio::piped());
        let output = child.spawn().unwrap().stdout.take().unwrap();
        let error = wait_until_served(&mut BufReader::new(output)).unwrap_err();
        assert!(
            error.to_string().ends_with("it said:\nno memory\n"),
            "{error}"
        );
    }

    #[test]
    fn a_server_s_shell_ends_with_its_standard_input() {
        // No server has this option; the shell waits for its own input nonetheless.
        let mut child = Command::new("sh");
        child.args(["-c", REDIS, "sh", "--no-such-option"]);
        child
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        assert!(line(&mut lines).unwrap().starts_with("ready "));
        assert!(wait_until_served(&mut lines).is_err());
        assert!(child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
