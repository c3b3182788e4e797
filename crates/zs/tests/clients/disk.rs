//! A running `zs serve`, and its control socket.
//!
//! Data model: `folder -> disk, disk.ctl, whatever a test puts there`; all of it goes with [`Disk`].

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses a part"
)]

use crate::common::{ZS, folder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A server, and a folder for its sockets and for files of the test.
pub(crate) struct Disk {
    server: Child,
    uri: String,
    folder: TempDir,
}

impl Disk {
    /// Returns when clients can connect. `arguments` are those of `zs serve` after `--socket PATH`.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = folder();
        let mut server = Command::new(ZS)
            .args(["serve", "--socket"])
            .arg(folder.path().join("disk"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut uri = String::new();
        let out = server.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut uri).unwrap();
        let uri = uri.trim_end().to_owned();
        assert!(uri.starts_with("nbd+unix://"), "{uri:?}");
        Self {
            server,
            uri,
            folder,
        }
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.file("disk")
    }

    /// A file of that name in the test's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn control(&self) -> Control {
        Control::connect(&self.file("disk.ctl"))
    }

    /// One figure of `stat`.
    #[track_caller]
    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.control().stat(name)
    }

    /// Bytes of the server's memory, shared libraries not counted.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.server.id());
        let text = fs::read_to_string(path).unwrap();
        let kilobytes = |name: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (kilobytes("Private_Clean:") + kilobytes("Private_Dirty:")) * 1024
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.server), Signal::TERM).unwrap();
    }

    /// A signal, and a good end: success, and no socket left.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.terminate();
        let status = self.server.wait().unwrap();
        assert!(status.success(), "{status}");
        for name in ["disk", "disk.ctl"] {
            assert!(!self.file(name).exists(), "{name} is left");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever has ended it was quicker.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A connection to a server's control socket.
pub(crate) struct Control(BufReader<UnixStream>);

impl Control {
    pub(crate) fn connect(path: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(path).unwrap()))
    }

    /// The answer to a request, or what is wrong with it.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value, String> {
        let line = format!("{request}\n");
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// One figure of `stat`.
    #[track_caller]
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        let stat = self.ask(&json!({"command": "stat"})).unwrap();
        crate::common::number(&stat, name)
    }
}
