//! Processes that stand still while they are sampled.

use super::list::descendants;
use super::proc_dir::{ProcDir, Stat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::HashSet;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Looks for children that were started while the others were being stopped; who starts some in
/// each is sampled running.
const ROUNDS: usize = 4;

/// Reads a number a line, and `-` for none; at the end of its input it wakes the processes of these
/// numbers.
const GUARD: &str = "p=; while read -r l; do case $l in -) p=;; *) p=\"$p $l\";; esac; done; \
                     [ -z \"$p\" ] || kill -CONT $p";

/// A process that wakes those that were stopped, should this one be killed meanwhile.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    /// Starts it, in a process group of its own, where no terminal interrupts it.
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD]).process_group(0);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.0.stdin {
            // Without a guard everything goes as before, unless this process is killed.
            let _ = writeln!(input, "{line}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Processes that were sent SIGSTOP; they go on when this is dropped.
pub(super) struct Stopped<'a> {
    guard: &'a mut Guard,
    processes: Vec<(u32, Stat)>,
    /// All that were found.
    pub(super) pids: Vec<u32>,
    /// Those that had been stopped by somebody else, who is to wake them.
    by_others: HashSet<u32>,
}

impl<'a> Stopped<'a> {
    /// Stops the descendants of a process but for `others`, as far as that is allowed.
    pub(super) fn descendants(of: u32, others: &HashSet<u32>, guard: &'a mut Guard) -> Self {
        let mut stopped = Self {
            guard,
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

    /// Returns those who see a child of theirs stopped, and may stop themselves for that.
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
        self.guard.tell(&pid.to_string());
        if send(pid, &stat, Signal::STOP) {
            self.processes.push((pid, stat));
        }
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        for (pid, stat) in &self.processes {
            // One that was killed meanwhile needs nothing.
            send(*pid, stat, Signal::CONT);
        }
        self.guard.tell("-");
    }
}

/// Sends a signal to the process that had these data, not to one that was given its number since;
/// whether it was sent.
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
