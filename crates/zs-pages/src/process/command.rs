//! A command that is started here, and sampled when its memory is largest.

use super::proc_dir::{ProcDir, Stat};
use super::process_list::{check_proc, descendants};
use super::schedule::SampleSchedule;
use super::stopped::{Stopped, Waker, send};
use super::survey::{SampleOptions, SampledProcess, Survey, Unread, survey};
use super::unread::UnreadReason;
use crate::error::Error;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use std::collections::{BTreeMap, HashSet};
use std::process::{self, Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The least time between two counts.
const INTERVAL: Duration = Duration::from_millis(5);

/// The rest after a count, in multiples of its time. So counts take at most a fifth of the time,
/// also with thousands of processes.
const REST_OF_COUNT: u32 = 4;

/// The time after a sample in which stopped parents are woken. Some programs stop themselves when
/// their child was stopped, for example `script` and `sudo`.
const WAKING: Duration = Duration::from_secs(1);

/// A command that has ended, and the sample of its memory.
#[derive(Debug)]
pub struct WatchedCommand {
    /// The sample of the command and its descendants when they were largest, as far as they could
    /// be read.
    pub survey: Survey,
    /// The largest count, in bytes of anonymous memory, in memory or in swap. Memory that a fork
    /// shares counts for each process here.
    pub largest: u64,
    /// The count at the time of the sample, in bytes.
    pub at_sample: u64,
    /// The time of the sample, from the start of the command.
    pub sampled_after: Duration,
    /// The number of times that memory was counted.
    pub counts: u64,
    /// The number of samples that were taken.
    pub samples: u64,
    /// The end of the command.
    pub status: ExitStatus,
    /// The processes that were left when the command ended: number and name.
    pub left: Vec<(u32, String)>,
    /// The reason why no more samples were taken, for example a full disk.
    pub failed: Option<Error>,
}

/// Starts a command, samples its memory, and waits for its end. The anonymous memory of the command
/// and its descendants is counted every few milliseconds. Whenever it is a tenth more than at the
/// last sample, they are stopped (SIGSTOP), a new sample is taken as by [`survey`], and they go on.
/// The larger sample is kept. They are stopped for at most half of the time, unless their memory
/// grows by a quarter. So the last sample has at least four fifths of the largest memory that was
/// counted. A child process (`/bin/sh`) wakes the stopped processes if this process is killed.
///
/// Descendants that lose their parent become children of the calling process
/// (`PR_SET_CHILD_SUBREAPER`), so that they are found. They are reaped when they end. Earlier
/// children of the calling process are left alone, but it must not start others meanwhile.
///
/// `signal` holds the number of a signal for the command, or 0. The signal is sent, and the number
/// set to 0.
///
/// # Errors
/// [`Error::Start`] if the command, or the child that guards it, cannot be started;
/// [`Error::Proc`]; or, when the command has ended and there is no sample at all, those of
/// [`survey`].
pub fn watch(
    command: &mut Command,
    options: SampleOptions,
    signal: &AtomicUsize,
) -> Result<WatchedCommand, Error> {
    let name = command.get_program().to_owned();
    // Where this is not allowed, daemons are not found.
    let _ = set_child_subreaper(Some(getpid()));
    check_proc()?;
    let waker = Waker::start().map_err(|source| Error::Start {
        command: "/bin/sh".into(),
        source,
    })?;
    let before = descendants(process::id())?;
    let mut child = command.spawn().map_err(|source| Error::Start {
        command: name,
        source,
    })?;
    let mut watch = Watch::new(options, before, waker, child.id());
    loop {
        let status = child.try_wait().map_err(Error::Proc)?;
        let rest = watch.look();
        match status {
            Some(status) => return watch.finish(status),
            None => pass_on(signal.swap(0, Ordering::Relaxed), &child),
        }
        thread::sleep(rest);
    }
}

/// Sends a signal, if the number is one, to a command that was not reaped yet.
fn pass_on(signal: usize, command: &Child) {
    let signal = i32::try_from(signal).ok().and_then(Signal::from_named_raw);
    if let Some(signal) = signal {
        // The command may have ended already.
        let _ = kill_process(Pid::from_child(command), signal);
    }
}

struct Watch {
    options: SampleOptions,
    waker: Waker,
    command: u32,
    /// Descendants of the calling process that do not belong to the command, and the waker.
    others: HashSet<u32>,
    start: Instant,
    schedule: SampleSchedule,
    counts: u64,
    samples: u64,
    largest: u64,
    best: Option<BestSample>,
    /// The parents of stopped processes, and the time until which they are woken if they stop
    /// themselves.
    waking: Option<(Instant, HashSet<u32>)>,
    running: Vec<(u32, Stat)>,
    /// Processes that could not be read in any sample. A later sample may not contain them.
    refused: BTreeMap<u32, UnreadReason>,
    failed: Option<Error>,
}

struct BestSample {
    survey: Survey,
    counted: u64,
    after: Duration,
}

impl Watch {
    fn new(options: SampleOptions, others: Vec<(u32, Stat)>, waker: Waker, command: u32) -> Self {
        let mut others: HashSet<u32> = others.into_iter().map(|(pid, _)| pid).collect();
        others.insert(waker.pid());
        Self {
            options,
            waker,
            command,
            others,
            start: Instant::now(),
            schedule: SampleSchedule::default(),
            counts: 0,
            samples: 0,
            largest: 0,
            best: None,
            waking: None,
            running: Vec::new(),
            refused: BTreeMap::new(),
            failed: None,
        }
    }

    /// Counts the memory, and takes a sample if one is due. Returns the time to rest.
    fn look(&mut self) -> Duration {
        let begun = Instant::now();
        match descendants(process::id()) {
            Ok(found) => self.sort(found),
            Err(error) => self.failed = Some(error),
        }
        self.wake();
        let shared = self.options.shared;
        let counted = self.running.iter().map(|(pid, _)| count(*pid, shared));
        let counted = counted.sum();
        self.counts += 1;
        self.largest = self.largest.max(counted);
        let rest = INTERVAL.max(begun.elapsed() * REST_OF_COUNT);
        // After a sample failed for want of disk space, none is tried again. The last one is kept,
        // and the command runs on.
        if self.failed.is_none() && self.schedule.is_due(counted, self.start.elapsed()) {
            self.sample(counted);
        }
        rest
    }

    /// Keeps the running processes of the command, and reaps those that have ended as children of
    /// this process.
    fn sort(&mut self, found: Vec<(u32, Stat)>) {
        self.running.clear();
        for (pid, stat) in found {
            if self.others.contains(&pid) {
                continue;
            }
            if !stat.has_ended() {
                self.running.push((pid, stat));
            } else if stat.parent == process::id() && pid != self.command {
                // No other process can reap it. Without a number, `waitpid` might reap any child,
                // also the command.
                if let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _ = waitpid(Some(number), WaitOptions::NOHANG);
                }
            }
        }
    }

    /// Wakes processes that stopped themselves because a child of theirs was stopped.
    fn wake(&mut self) {
        let Some((until, parents)) = &self.waking else {
            return;
        };
        if Instant::now() > *until {
            self.waking = None;
            return;
        }
        for (pid, stat) in &self.running {
            if stat.is_stopped() && parents.contains(pid) {
                send(*pid, stat, Signal::CONT);
            }
        }
    }

    fn sample(&mut self, counted: u64) {
        let begun = Instant::now();
        let after = begun - self.start;
        let stopped = Stopped::descendants(process::id(), &self.others, &mut self.waker);
        // Counted again: the memory may have grown much before all processes were stopped.
        let shared = self.options.shared;
        let still: u64 = stopped.pids.iter().map(|pid| count(*pid, shared)).sum();
        let counted = counted.max(still);
        self.largest = self.largest.max(counted);
        let sampled = survey(&stopped.pids, self.options, &mut |_| ());
        let parents = stopped.parents();
        drop(stopped);
        self.waking = Some((Instant::now() + WAKING, parents));
        self.keep(sampled, counted, after);
        self.schedule.note(counted, begun.elapsed());
    }

    /// Keeps a sample if it is larger than the one before. After an error, keeps the one before.
    fn keep(&mut self, sampled: Result<Survey, Error>, counted: u64, after: Duration) {
        let mut survey = match sampled {
            Ok(survey) => survey,
            Err(error) => {
                self.failed = Some(error);
                return;
            }
        };
        self.samples += 1;
        self.note_refused(&mut survey);
        let better = |best: &BestSample| pages(&survey) > pages(&best.survey);
        if self.best.as_ref().is_none_or(better) {
            // A process that was refused before, perhaps while it ran another program, has been
            // read now. It may be refused again.
            for process in &survey.processes {
                self.refused.remove(&process.pid);
            }
            self.best = Some(BestSample {
                survey,
                counted,
                after,
            });
        }
    }

    fn note_refused(&mut self, survey: &mut Survey) {
        let unread = std::mem::take(&mut survey.unread);
        for Unread { pid, reason } in unread {
            if matches!(reason, UnreadReason::Refused(_)) {
                self.refused.insert(pid, reason);
            } else {
                survey.unread.push(Unread { pid, reason });
            }
        }
    }

    fn finish(mut self, status: ExitStatus) -> Result<WatchedCommand, Error> {
        if self.best.is_none()
            && let Some(error) = self.failed.take()
        {
            return Err(error);
        }
        let nothing = || BestSample {
            survey: Survey::default(),
            counted: 0,
            after: Duration::ZERO,
        };
        let mut best = self.best.unwrap_or_else(nothing);
        let refused = self.refused.into_iter();
        best.survey
            .unread
            .extend(refused.map(|(pid, reason)| Unread { pid, reason }));
        let left = self.running.into_iter();
        Ok(WatchedCommand {
            survey: best.survey,
            largest: self.largest,
            at_sample: best.counted,
            sampled_after: best.after,
            counts: self.counts,
            samples: self.samples,
            status,
            left: left.map(|(pid, stat)| (pid, stat.name)).collect(),
            failed: self.failed,
        })
    }
}

/// Returns the number of pages that a survey represents. Processes that ended while they were read
/// have none.
fn pages(survey: &Survey) -> u64 {
    survey.processes.iter().map(SampledProcess::pages).sum()
}

/// Returns the bytes of a process's anonymous memory, in memory or in swap, and of its shared
/// memory if `shared`. Returns 0 for a process that is gone or may not be read.
fn count(pid: u32, shared: bool) -> u64 {
    let names = ["RssAnon", "VmSwap", "RssShmem"];
    let names = if shared { &names[..] } else { &names[..2] };
    let bytes = ProcDir::of_process(pid).and_then(|(dir, _)| dir.sum_of("status", names));
    bytes.ok().flatten().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::process::Stdio;

    const SECOND: Duration = Duration::from_secs(1);

    /// A full disk ends the sampling, but the last sample is kept.
    #[test]
    fn without_room_for_another_sample_the_last_one_is_kept() {
        let options = SampleOptions {
            bytes: 1 << 20,
            seed: 1,
            shared: false,
        };
        let waker = Waker::start().unwrap();
        let mut watch = Watch::new(options, Vec::new(), waker, 0);
        let mut cat = Command::new("cat");
        let cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut cat = cat.spawn().unwrap();
        let (mut input, mut output) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        input.write_all(b"here").unwrap();
        output.read_exact(&mut [0; 4]).unwrap();
        let sampled = survey(&[cat.id()], options, &mut |_| ()).unwrap();
        drop(input);
        cat.wait().unwrap();
        assert!(!sampled.processes.is_empty(), "{:?}", sampled.unread);
        watch.keep(Ok(sampled), 10, SECOND);
        let full = || Error::Proc(std::io::ErrorKind::StorageFull.into());
        watch.keep(Err(full()), 20, SECOND);
        watch.look();
        assert_eq!(watch.samples, 1, "none is taken any more");
        let watched = watch.finish(ExitStatus::default()).unwrap();
        assert_eq!(watched.survey.processes.len(), 1);
        assert_eq!(watched.at_sample, 10);
        assert!(matches!(watched.failed, Some(Error::Proc(_))));
        // Without any sample, only the error is left.
        let mut watch = Watch::new(options, Vec::new(), Waker::start().unwrap(), 0);
        watch.keep(Err(full()), 20, SECOND);
        assert!(matches!(
            watch.finish(ExitStatus::default()),
            Err(Error::Proc(_))
        ));
    }
}
