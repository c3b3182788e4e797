//! A `zs serve` of a test, and what is asked of it.

use super::nbd::Client;
use super::{Kind, Numbers, failure, folder, page, stdout, zs};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use tempfile::TempDir;

/// A server in a folder of its own, killed if the test fails.
pub(crate) struct Server {
    child: Child,
    pub(crate) folder: TempDir,
    /// As it was printed: clients can connect.
    pub(crate) uri: String,
}

/// Starts a server in a folder with an --allow-dir, and waits until clients can connect.
fn start(mut command: Command, folder: TempDir) -> Server {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut uri = String::new();
    let out = child.stdout.as_mut().unwrap();
    BufReader::new(out).read_line(&mut uri).unwrap();
    assert!(uri.starts_with("nbd+unix:"), "{uri}");
    Server {
        child,
        folder,
        uri: uri.trim_end().to_owned(),
    }
}

impl Server {
    /// A disk of 16 MiB, with an --allow-dir.
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::with_disks(&[&["--size", "16M"], more].concat())
    }

    pub(crate) fn with_disks(arguments: &[&str]) -> Self {
        Self::heard(folder(), arguments, Stdio::inherit())
    }

    /// In a folder that may be there already, with another standard error.
    pub(crate) fn heard(folder: TempDir, arguments: &[&str], errors: Stdio) -> Self {
        let mut command = zs(&["serve"]);
        command.args(arguments).stderr(errors);
        Self::of(command, folder)
    }

    /// By a command to which `--socket` and `--allow-dir` are added.
    pub(crate) fn of(mut command: Command, folder: TempDir) -> Self {
        let files = folder.path().join("files");
        std::fs::create_dir_all(&files).unwrap();
        command.arg("--socket").arg(folder.path().join("disk"));
        command.arg("--allow-dir").arg(&files);
        start(command, folder)
    }

    /// What it says on standard error, if that is a pipe.
    pub(crate) fn errors(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.child.stderr.take().unwrap())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// The folder of --allow-dir.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    pub(crate) fn number(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket(), "").unwrap()
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = zs(&["ctl", "--socket"]);
        command.arg(self.socket()).args(arguments).output().unwrap()
    }

    /// What is printed of a verb that succeeds.
    #[track_caller]
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        stdout(&output).to_owned()
    }

    /// The same as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.told(&[&["--json"], arguments].concat())).unwrap()
    }

    /// Figures of the only disk.
    #[track_caller]
    pub(crate) fn stat(&self) -> Value {
        self.json(&["stat"])[0].take()
    }

    /// What is said of a verb that fails.
    #[track_caller]
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        failure(&self.ctl(arguments), 1)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> (ExitStatus, TempDir) {
        let status = self.child.wait().unwrap();
        (status, std::mem::replace(&mut self.folder, folder()))
    }

    /// Ends it in order; nothing but its files is left.
    #[track_caller]
    pub(crate) fn terminate(self) {
        self.signal(Signal::TERM);
        let (status, folder) = self.wait();
        assert!(status.success(), "{status}");
        assert_eq!(names(folder.path()), ["files"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Pages of text, from the start of the disk.
pub(crate) fn fill(server: &Server, pages: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(7);
    let mut bytes = Vec::new();
    for _ in 0..pages {
        bytes.extend(page(Kind::Text, &mut numbers, 4096));
    }
    let mut client = server.client();
    assert_eq!(client.write(0, &bytes).unwrap(), 0);
    client.leave();
    bytes
}

#[track_caller]
pub(crate) fn holds(client: &mut Client, bytes: &[u8]) {
    assert!(client.read(0, bytes.len()).unwrap().unwrap() == bytes);
}
