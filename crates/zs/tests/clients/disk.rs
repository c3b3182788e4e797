//! A running `zs serve`, and its control socket.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses a part"
)]

use crate::common::server::Server;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A server with one disk, and a folder for files of the test; killed, and its folder removed, if
/// the test fails.
pub(crate) struct Disk(Server);

impl Disk {
    /// Returns when clients can connect. `arguments` are those of `zs serve`.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self(Server::with_disks(arguments))
    }

    pub(crate) fn uri(&self) -> &str {
        &self.0.uri
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.socket()
    }

    /// A file of that name in the test's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.files().join(name)
    }

    pub(crate) fn control(&self) -> Control {
        Control::connect(&self.0.folder.path().join("disk.ctl"))
    }

    /// One figure of `stat`.
    #[track_caller]
    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.control().stat(name)
    }

    /// Bytes of the server's memory, shared libraries not counted.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.0.number());
        let text = fs::read_to_string(path).unwrap();
        let kilobytes = |name: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (kilobytes("Private_Clean:") + kilobytes("Private_Dirty:")) * 1024
    }

    /// A signal, and a good end: success, and no socket left.
    #[track_caller]
    pub(crate) fn end(self) {
        self.0.terminate();
    }
}

/// A connection to a server's control socket.
pub(crate) struct Control(BufReader<UnixStream>);

impl Control {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        // Who waits longer waits for ever, on any machine.
        stream
            .set_read_timeout(Some(Duration::from_secs(300)))
            .unwrap();
        Self(BufReader::new(stream))
    }

    /// The answer to a request, or what is wrong with it.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value, String> {
        let line = format!("{}\n", json!({ "request": request }));
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
        let mut answer = json!("working");
        // As the server says twice a second for as long as it takes.
        while answer == "working" {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            answer = serde_json::from_str(&line).unwrap();
        }
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// What there is to know of the disk.
    #[track_caller]
    pub(crate) fn stats(&mut self) -> Value {
        self.ask(&json!({"command": "stat"})).unwrap()[0].take()
    }

    /// One figure of that, as in `write/bytes`.
    #[track_caller]
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        let stats = self.stats();
        let figure = stats.pointer(&format!("/{name}")).and_then(Value::as_u64);
        figure.unwrap_or_else(|| panic!("{name}: {stats}"))
    }
}
