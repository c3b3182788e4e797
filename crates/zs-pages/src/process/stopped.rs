//! Processes that are stopped while they are sampled.

use super::proc_dir::{ProcDir, Stat};
use super::process_list::descendants;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::HashSet;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// The rounds of looking for children that were started while others were being stopped. Processes
/// that start more in each round are sampled while they run.
const ROUNDS: usize = 4;

/// A script that reads a process number from each line, and forgets all at a `-`. At the end of its
/// input it wakes the processes with these numbers.
const WAKER: &str = "p=; while read -r l; do case $l in -) p=;; *) p=\"$p $l\";; esac; done; \
                     [ -z \"$p\" ] || kill -CONT $p";

/// A process that wakes the stopped processes if this process is killed meanwhile.
#[derive(Debug)]
pub(super) struct Waker(Child);

impl Waker {
    /// Starts the waker in its own process group, where a terminal does not interrupt it.
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WAKER]).process_group(0);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.0.stdin {
            // Without a waker all goes on, but a killed process would leave others stopped.
            let _ = writeln!(input, "{line}");
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Processes that were sent SIGSTOP. Dropping this wakes them.
pub(super) struct Stopped<'a> {
    waker: &'a mut Waker,
    processes: Vec<(u32, Stat)>,
    /// All processes that were found.
    pub(super) pids: Vec<u32>,
    /// Processes that were stopped before, by another process. They are not woken here.
    by_others: HashSet<u32>,
}

impl<'a> Stopped<'a> {
    /// Stops the descendants of a process, except `others`, as far as that is allowed.
    pub(super) fn descendants(of: u32, others: &HashSet<u32>, waker: &'a mut Waker) -> Self {
        let mut stopped = Self {
            waker,
            processes: Vec::new(),
            pids: Vec::new(),
            by_others: HashSet::new(),
        };
        let mut known = HashSet::new();
        for _ in 0..ROUNDS {
            let found = descendants(of).unwrap_or_default();
            let before = known.len();
            for (pid, stat) in found {
                if !others.contains(&pid) && !stat.has_ended() && known.insert(pid) {
                    stopped.stop(pid, stat);
                }
            }
            if known.len() == before {
                break;
            }
        }
        stopped.pids.extend(known);
        stopped.pids.sort_unstable();
        stopped
    }

    /// Returns the parents of the stopped processes. They may stop themselves when a child is
    /// stopped.
    pub(super) fn parents(&self) -> HashSet<u32> {
        let parents = self.processes.iter().map(|(_, stat)| stat.parent);
        parents
            .filter(|pid| !self.by_others.contains(pid))
            .collect()
    }

    fn stop(&mut self, pid: u32, stat: Stat) {
        if stat.is_stopped() {
            self.by_others.insert(pid);
            return;
        }
        self.waker.tell(&pid.to_string());
        if send(pid, &stat, Signal::STOP) {
            self.processes.push((pid, stat));
        }
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        for (pid, stat) in &self.processes {
            // A process that was killed meanwhile needs no signal.
            send(*pid, stat, Signal::CONT);
        }
        self.waker.tell("-");
    }
}

/// Sends a signal to the process with these data, but not to another one that got its number since.
/// Returns whether it was sent.
pub(super) fn send(pid: u32, stat: &Stat, signal: Signal) -> bool {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(process) = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()).ok())
    else {
        return false;
    };
    let now = ProcDir::of_process(pid);
    now.is_ok_and(|(_, now)| now.start == stat.start)
        && pidfd_send_signal(process.as_fd(), signal).is_ok()
}
