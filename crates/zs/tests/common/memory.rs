//! Commands that hold memory, of programs that every system has.

use super::number;
use serde_json::Value;
use std::io::Read as _;
use std::ops::Range;
use std::process::{Child, Command, Stdio};

/// Bytes that [`HOLD`] holds.
pub(crate) const HELD: u64 = 40_000_000;

/// What `tail` takes for that: its buffers are of fixed length, and a read may fill a part.
pub(crate) const MEMORY: Range<u64> = HELD..2 * HELD;

/// `tail` keeps all that it may have to print: 40 MB of random bytes, until its input ends.
pub(crate) const HOLD: &str = "head -c 40000000 /dev/urandom | tail -c 40000000 | wc -c";

/// A `tail` that holds [`HELD`] bytes and waits for more.
pub(crate) struct Holder {
    shell: Child,
    pub(crate) pid: u32,
}

impl Holder {
    pub(crate) fn start() -> Self {
        // The shell tells the number of tail, which it becomes; its input stays open until the shell's does.
        let script = "{ head -c 40000000 /dev/urandom; echo full >&2; cat; } | sh -c 'echo $$ >&2; exec tail -c 40000000'";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut stderr = shell.stderr.take().unwrap();
        let mut byte = [0];
        while !(said.contains("full\n") && said.lines().count() == 2 && said.ends_with('\n')) {
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{said:?}");
            said.push(char::from(byte[0]));
        }
        let pid = said.lines().find_map(|line| line.parse().ok()).unwrap();
        let holder = Self { shell, pid };
        // What is in the pipe when the writer is done, tail reads in its own time.
        while holder.anonymous() < HELD {
            std::thread::yield_now();
        }
        holder
    }

    fn anonymous(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// The process of a report that holds most.
#[track_caller]
pub(crate) fn largest(report: &Value) -> &Value {
    let processes = report["processes"].as_array().unwrap();
    let by_memory = processes
        .iter()
        .max_by_key(|process| number(process, "memory_bytes"));
    by_memory.unwrap()
}
