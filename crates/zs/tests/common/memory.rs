//! Commands that hold memory: this test program, started again, so that nothing depends on the
//! tools of a system.

use super::{Numbers, number};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};
use serde_json::Value;
use signal_hook::consts::SIGCONT;
use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes that a holder holds, which cannot be compressed.
pub(crate) const HELD: u64 = 40_000_000;

/// What a holder takes for that: beside them it is a small program.
pub(crate) const MEMORY: Range<u64> = HELD..HELD + (16 << 20);

/// What a holder calls itself.
pub(crate) const NAME: &str = "zs-holder";

/// What a process is to do, in its environment.
const ROLE: &str = "ZS_TEST_HOLD";

/// Bytes that a holder takes at a time, the same each time: no page of them can be compressed.
const STEP: usize = 256 << 10;

/// A command for `sh`: it holds [`HELD`] bytes, says so on standard output, and ends when it was
/// sampled at 85 % of that or more. The tool samples again whenever there is a tenth more, so that
/// this moment comes.
pub(crate) fn hold() -> String {
    hold_bytes(HELD)
}

/// The same of so many bytes.
pub(crate) fn hold_bytes(held: u64) -> String {
    command(&env::current_exe().unwrap(), held, enough(held))
}

/// As [`hold`] by a copy of this program.
pub(crate) fn hold_by(program: &Path) -> String {
    command(program, HELD, enough(HELD))
}

/// As [`hold`], but it ends whether it was sampled or not.
pub(crate) fn hold_and_end() -> String {
    command(&env::current_exe().unwrap(), HELD, 0)
}

fn enough(held: u64) -> u64 {
    held * 85 / 100
}

fn command(program: &Path, held: u64, sampled_at: u64) -> String {
    let arguments = role().join(" ");
    format!(
        "{ROLE}={held}/{sampled_at} {} {arguments}",
        program.display()
    )
}

/// A command that stops itself whenever its child, a holder, was stopped, and then continues it.
pub(crate) fn stop_with_child() -> String {
    let program = env::current_exe().unwrap();
    format!("{ROLE}=parent {} {}", program.display(), role().join(" "))
}

fn role() -> [&'static str; 4] {
    let test = "common::memory::a_process_that_holds";
    [test, "--exact", "--nocapture", "--test-threads=1"]
}

/// Not a test of its own: a process that holds memory, if it was started as one.
#[test]
fn a_process_that_holds() {
    match env::var(ROLE).as_deref() {
        Ok("parent") => stop_whenever_a_child_does(),
        Ok("input") => hold_memory(HELD, None),
        Ok(role) => {
            let (held, sampled_at) = role.split_once('/').unwrap();
            hold_memory(held.parse().unwrap(), Some(sampled_at.parse().unwrap()));
        }
        Err(_) => {}
    }
}

/// Holds bytes until it was sampled at so many of them, or, with no number given, until its input
/// ends.
fn hold_memory(bytes: u64, sampled_at: Option<u64>) {
    std::fs::write("/proc/self/comm", NAME).unwrap();
    let continued = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGCONT, continued.clone()).unwrap();
    // Who samples a process stops it, and has it go on.
    let was_continued = || continued.swap(false, Ordering::Relaxed);
    let mut numbers = Numbers::new(u64::from(std::process::id()));
    let step: Vec<u8> = (0..STEP / 8)
        .flat_map(|_| numbers.next().to_ne_bytes())
        .collect();
    let bytes = bytes as usize;
    let mut held: Vec<u8> = Vec::with_capacity(bytes);
    let mut last = 0;
    while held.len() < bytes {
        held.extend_from_slice(&step[..STEP.min(bytes - held.len())]);
        if was_continued() {
            last = held.len() as u64;
        }
    }
    // With standard output closed there is nobody to tell.
    let _ = writeln!(std::io::stdout().lock(), "\nholds {}", held.len());
    match sampled_at {
        None => {
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
        Some(sampled_at) => {
            while last < sampled_at {
                std::thread::sleep(Duration::from_millis(1));
                if was_continued() {
                    last = held.len() as u64;
                }
            }
        }
    }
}

fn stop_whenever_a_child_does() {
    let mut child = Command::new("sh")
        .args(["-c", &hold()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let wanted = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), wanted).unwrap().unwrap().stopped() {
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::STOPPED | WaitIdOptions::NOHANG,
        )
        .unwrap();
        kill_process(getpid(), Signal::STOP).unwrap();
        kill_process(pid, Signal::CONT).unwrap();
    }
    child.wait().unwrap();
}

/// A process that holds [`HELD`] bytes until this is dropped.
pub(crate) struct Holder {
    child: Child,
    pub(crate) pid: u32,
}

impl Holder {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(role())
            .env(ROLE, "input")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut said = lines.map(Result::unwrap);
        said.find(|line| line.starts_with("holds ")).unwrap();
        let pid = child.id();
        Self { child, pid }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Nobody reads what it says at its end.
        let _ = self.child.wait();
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
