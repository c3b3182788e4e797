//! A command that is started here, and sampled at its largest moment.

use super::list::{check_proc, descendants};
use super::proc_dir::{ProcDir, Stat};
use super::stopped::{Guard, Stopped, send};
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

/// A count may take a fifth of the time, on a machine with thousands of processes too.
const REST_OF_COUNT: u32 = 4;

/// After a sample, so long are processes woken that stop because one of theirs was stopped, as
/// `script` and `sudo` do.
const WAKING: Duration = Duration::from_secs(1);

/// A command, and what was sampled of it.
#[derive(Debug)]
pub struct WatchedCommand {
    /// The command and its descendants when they were largest, as far as they could be read then.
    pub survey: Survey,
    /// Bytes of anonymous memory, in memory or in swap, that were counted at most. Memory that a
    /// fork shares counts for each process here.
    pub largest: u64,
    /// The counts at the time of the sample.
    pub at_sample: u64,
    /// When that was, from the command's start.
    pub sampled_after: Duration,
    /// The number of counts of memory, and of samples.
    pub counts: u64,
    /// See `counts`.
    pub samples: u64,
    /// The end of the command.
    pub status: ExitStatus,
    /// Processes that it left behind when it ended: number and name.
    pub left: Vec<(u32, String)>,
    /// Why no sample was taken any more: the disk was full, for example.
    pub failed: Option<Error>,
}

/// Starts a command, and waits for its end. Meanwhile the anonymous memory of the command and all
/// its descendants is counted every few milliseconds, which costs little; whenever that is a tenth
/// more than ever before, they are stopped (SIGSTOP), a sample is taken as by [`survey`], which
/// replaces the one before, and they go on. They stand still for half of the time at most,
/// unless they grow by a quarter, so that the last sample is of four fifths of the most at least,
/// if nothing was faster than could be seen. A child process (`/bin/sh`) would have them go on
/// should this one be killed.
///
/// Descendants that lose their parent become children of the calling process
/// (`PR_SET_CHILD_SUBREAPER`), so that they are found; those that ended are waited for. Children
/// that it had before are left alone, but it must start no others meanwhile.
///
/// A number in `signal` is a signal for the command: it is sent to it, and 0 put there instead.
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
    // Where that is not allowed, daemons are lost from sight.
    let _ = set_child_subreaper(Some(getpid()));
    check_proc()?;
    let guard = Guard::start().map_err(|source| Error::Start {
        command: "/bin/sh".into(),
        source,
    })?;
    let before = descendants(process::id())?;
    let mut child = command.spawn().map_err(|source| Error::Start {
        command: name,
        source,
    })?;
    let mut watch = Watch::new(options, before, guard, child.id());
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

/// Sends a signal to a command that was not yet asked how it ended, if it is one.
fn pass_on(signal: usize, command: &Child) {
    let signal = i32::try_from(signal).ok().and_then(Signal::from_named_raw);
    if let Some(signal) = signal {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(command), signal);
    }
}

struct Watch {
    options: SampleOptions,
    guard: Guard,
    command: u32,
    /// Children of the calling process, and theirs, that are none of the command's; the guard.
    others: HashSet<u32>,
    start: Instant,
    pace: Pace,
    counts: u64,
    samples: u64,
    largest: u64,
    best: Option<Moment>,
    /// Until when which processes are woken if they stop: those who saw a child of theirs stopped.
    waking: Option<(Instant, HashSet<u32>)>,
    running: Vec<(u32, Stat)>,
    /// Why processes could not be read, from all samples: a later one may be without them.
    refused: BTreeMap<u32, UnreadReason>,
    failed: Option<Error>,
}

/// When a sample is worth its time.
#[derive(Debug, Default)]
struct Pace {
    /// What was counted at the last sample, whatever came of it: what cannot be read is not tried
    /// over and over.
    tried: u64,
    /// Spent on samples, while the command stood still.
    spent: Duration,
}

impl Pace {
    /// Says whether there is a tenth more to be sampled than at the last sample, and the command
    /// has stood still for no more than half of the time since its start; a quarter more does not
    /// wait.
    fn is_due(&self, counted: u64, since_start: Duration) -> bool {
        let has_time = self.spent <= since_start.saturating_sub(self.spent);
        counted > self.tried + self.tried / 4 || has_time && counted > self.tried + self.tried / 10
    }

    fn note(&mut self, counted: u64, took: Duration) {
        self.tried = counted;
        self.spent += took;
    }
}

struct Moment {
    survey: Survey,
    counted: u64,
    after: Duration,
}

impl Watch {
    fn new(options: SampleOptions, others: Vec<(u32, Stat)>, guard: Guard, command: u32) -> Self {
        let mut others: HashSet<u32> = others.into_iter().map(|(pid, _)| pid).collect();
        others.insert(guard.pid());
        Self {
            options,
            guard,
            command,
            others,
            start: Instant::now(),
            pace: Pace::default(),
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

    /// Counts, and takes a sample if that is worth it; returns how long to rest.
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
        // A sample that failed for want of disk space is not tried again: what is there is kept,
        // and the command runs on.
        if self.failed.is_none() && self.pace.is_due(counted, self.start.elapsed()) {
            self.sample(counted);
        }
        rest
    }

    /// Keeps the command's processes that run, and asks for the end of those that became children
    /// of this one.
    fn sort(&mut self, found: Vec<(u32, Stat)>) {
        self.running.clear();
        for (pid, stat) in found {
            if self.others.contains(&pid) {
                continue;
            }
            if !stat.has_ended() {
                self.running.push((pid, stat));
            } else if stat.parent == process::id() && pid != self.command {
                // It has ended, and nobody else can ask. Without a number it would be any child,
                // the command too.
                if let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _ = waitpid(Some(number), WaitOptions::NOHANG);
                }
            }
        }
    }

    /// Has those go on who stopped themselves because they saw one of theirs stopped.
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
        let stopped = Stopped::descendants(process::id(), &self.others, &mut self.guard);
        // Counted anew: it may have grown much until it stood still.
        let shared = self.options.shared;
        let still: u64 = stopped.pids.iter().map(|pid| count(*pid, shared)).sum();
        let counted = counted.max(still);
        self.largest = self.largest.max(counted);
        let sampled = survey(&stopped.pids, self.options, &mut |_| ());
        let parents = stopped.parents();
        drop(stopped);
        self.waking = Some((Instant::now() + WAKING, parents));
        self.keep(sampled, counted, after);
        self.pace.note(counted, begun.elapsed());
    }

    /// Keeps a sample if it is larger than the one before; after an error, the one before.
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
        let better = |best: &Moment| pages(&survey) > pages(&best.survey);
        if self.best.as_ref().is_none_or(better) {
            // Who was refused before, while it executed another program perhaps, has been read now;
            // it may be refused again.
            for process in &survey.processes {
                self.refused.remove(&process.pid);
            }
            self.best = Some(Moment {
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
        let nothing = || Moment {
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

/// Returns the number of pages that a survey stands for: of processes that ended while they were
/// read there are none.
fn pages(survey: &Survey) -> u64 {
    survey.processes.iter().map(SampledProcess::pages).sum()
}

/// Returns the number of bytes of a process's anonymous memory, in memory or in swap, and of its
/// shared memory if that is sampled; 0 of one that is gone or must not be looked at.
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

    #[test]
    fn a_sample_is_due_if_there_is_a_tenth_more_and_time_for_it() {
        let mut pace = Pace::default();
        assert!(!pace.is_due(0, SECOND) && pace.is_due(1, Duration::ZERO));
        pace.note(100, SECOND);
        assert!(!pace.is_due(110, 2 * SECOND) && pace.is_due(111, 2 * SECOND));
        // It stood still for more than half of the time: only much more does not wait.
        let early = SECOND * 3 / 2;
        assert!(!pace.is_due(125, early) && pace.is_due(126, early));
    }

    #[test]
    fn what_was_tried_is_not_tried_again_whatever_came_of_it() {
        let mut pace = Pace::default();
        pace.note(1 << 30, SECOND);
        for after in [1, 10, 100_000] {
            assert!(!pace.is_due(1 << 30, after * SECOND));
        }
    }

    /// A disk that is full ends the sampling, and not what was sampled before.
    #[test]
    fn without_room_for_another_sample_the_last_one_is_kept() {
        let options = SampleOptions {
            bytes: 1 << 20,
            seed: 1,
            shared: false,
        };
        let guard = Guard::start().unwrap();
        let mut watch = Watch::new(options, Vec::new(), guard, 0);
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
        // With no sample at all, there is nothing but the error.
        let mut watch = Watch::new(options, Vec::new(), Guard::start().unwrap(), 0);
        watch.keep(Err(full()), 20, SECOND);
        assert!(matches!(
            watch.finish(ExitStatus::default()),
            Err(Error::Proc(_))
        ));
    }
}
