//! Processes that stand still while they are sampled.

use super::list::descendants;
use super::proc_dir::{ProcDir, Stat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::HashSet;
use std::os::fd::{AsFd as _, OwnedFd};

/// Looks for children that were started while the others were being stopped; who starts some in each is sampled running.
const ROUNDS: usize = 4;

/// Processes that were sent SIGSTOP; they go on when this is dropped.
#[derive(Debug)]
pub(super) struct Stopped(Vec<OwnedFd>);

impl Stopped {
    /// Stops the descendants of a process but for `others`, as far as that is allowed. Returns all of them, those that
    /// could not be stopped too.
    pub(super) fn descendants(of: u32, others: &HashSet<u32>) -> (Self, Vec<u32>) {
        let mut stopped = Self(Vec::new());
        let mut known = HashSet::new();
        for _ in 0..ROUNDS {
            let found = descendants(of).unwrap_or_default();
            let new = found
                .into_iter()
                .filter(|(pid, stat)| !others.contains(pid) && !stat.has_ended());
            let before = known.len();
            for (pid, stat) in new {
                if known.insert(pid) {
                    stopped.stop(pid, &stat);
                }
            }
            if known.len() == before {
                break;
            }
        }
        let mut pids: Vec<u32> = known.into_iter().collect();
        pids.sort_unstable();
        (stopped, pids)
    }

    fn stop(&mut self, pid: u32, stat: &Stat) {
        // Who was stopped by somebody else is not ours to wake.
        if !stat.is_stopped()
            && let Some(process) = open(pid, stat)
            && pidfd_send_signal(process.as_fd(), Signal::STOP).is_ok()
        {
            self.0.push(process);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            // One that was killed meanwhile needs nothing.
            let _ = pidfd_send_signal(process.as_fd(), Signal::CONT);
        }
    }
}

/// A descriptor of the process that had these data, not of one that was given its number since.
fn open(pid: u32, stat: &Stat) -> Option<OwnedFd> {
    let number = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let process = pidfd_open(number, PidfdFlags::empty()).ok()?;
    let now = ProcDir::open(pid).and_then(|dir| dir.stat()).ok()?;
    (now.start == stat.start).then_some(process)
}
