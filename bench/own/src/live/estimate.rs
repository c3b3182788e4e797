//! One run of zs: what it says, and the time and memory it took.

use super::status;
use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Deserialize;
use std::fmt;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use wait4::Wait4 as _;

/// How often the peak of zs itself is read.
const EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// Which pages are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sample {
    /// As many as zs reads unless told otherwise.
    Default { seed: u32 },
    /// All.
    All,
}

impl Sample {
    fn arguments(self) -> [String; 2] {
        match self {
            Self::Default { seed } => ["--seed".to_owned(), seed.to_string()],
            Self::All => ["--sample".to_owned(), "1T".to_owned()],
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default { seed } => write!(f, "default sample, seed {seed}"),
            Self::All => f.write_str("all pages"),
        }
    }
}

/// What zs says; of its JSON, that which counts here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Said {
    pub(super) page_size: u64,
    pub(super) total: Total,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Total {
    /// Of the process.
    pub(super) memory_bytes: u64,
    pub(super) sampled_pages: u64,
    pub(super) codecs: Codecs,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Codecs {
    pub(super) lz4: Codec,
    pub(super) zstd: Codec,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Codec {
    /// Memory of the process over what it would be held in.
    pub(super) ratio: f64,
}

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) said: Said,
    /// From its start to its end.
    pub(super) wall: Duration,
    /// Of zs and its children, user and system.
    pub(super) cpu: Duration,
    /// The most that zs itself had resident; `None` if it ended before that could be read.
    pub(super) parent_peak: Option<u64>,
    /// The most that zs or one of its children had resident: a child's if it is more than
    /// `parent_peak`.
    pub(super) largest_peak: u64,
}

impl Run {
    /// Bytes of the pages that were read, and that zs keeps in a file without a name.
    pub(super) fn sample(&self) -> u64 {
        self.said.total.sampled_pages * self.said.page_size
    }

    /// The most that can have been resident at once: zs, and one of its children, which run one
    /// after the other.
    pub(super) fn peak(&self) -> Option<u64> {
        Some(self.parent_peak? + self.largest_peak)
    }
}

/// The program that is measured, and the CPU it runs on.
#[derive(Debug)]
pub(super) struct Zs {
    path: PathBuf,
    cpus: CpuSet,
}

impl Zs {
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        let allowed = sched_getaffinity(None).context("the CPUs that may be used")?;
        let mut all = 0..CpuSet::MAX_CPU;
        // The last one: interrupts often come to the first.
        let last = all.rfind(|&cpu| allowed.is_set(cpu));
        let mut cpus = CpuSet::new();
        cpus.set(last.context("no CPU may be used")?);
        Ok(Self { path, cpus })
    }

    /// Estimates a process, on one CPU.
    pub(super) fn estimate(&self, pid: u32, sample: Sample) -> Result<Run> {
        let start = Instant::now();
        let mut child = self.spawn(pid, sample)?;
        let mut output = child.stdout.take().context("no pipe")?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let mut json = Vec::new();
        let (parent_peak, wall) = thread::scope(|scope| {
            // Read beside the watch, so that zs never waits for a full pipe.
            let reader = scope.spawn(|| output.read_to_end(&mut json));
            let peak = watch(&child, &pidfd);
            let wall = start.elapsed();
            let read = reader.join();
            read.ok().context("the reader of zs's output")??;
            anyhow::Ok((peak?, wall))
        })?;
        let end = child.wait4()?;
        if !end.status.success() {
            bail!("{} ended with {}", self.path.display(), end.status);
        }
        let said = serde_json::from_slice(&json);
        Ok(Run {
            said: said.context("zs said something else than an estimate of one process")?,
            wall,
            cpu: end.rusage.utime + end.rusage.stime,
            parent_peak,
            largest_peak: end.rusage.maxrss,
        })
    }

    fn spawn(&self, pid: u32, sample: Sample) -> Result<Child> {
        let mut command = Command::new(&self.path);
        command
            .args(["estimate", "--json", "--pid", &pid.to_string()])
            .args(sample.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // A child begins on the CPUs of the thread that starts it, so a thread of its own does.
        let started = thread::scope(|scope| {
            let starter = scope.spawn(|| {
                sched_setaffinity(None, &self.cpus).context("one CPU cannot be chosen")?;
                let what = || format!("{} cannot be started", self.path.display());
                command.spawn().with_context(what)
            });
            starter.join()
        });
        started.ok().context("the thread that starts zs")?
    }
}

/// Waits until a process ends, which `pidfd` tells; returns the last peak of its resident memory
/// that was read. The peak only rises, and that of zs has come when its children begin, for which
/// it waits: more than [`EVERY`] before its end.
fn watch(child: &Child, pidfd: &OwnedFd) -> Result<Option<u64>> {
    let mut peak = None;
    loop {
        // Of a process that has just ended there is none.
        peak = status::bytes(child.id(), status::PEAK).ok().or(peak);
        let mut ends = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut ends, Some(&EVERY)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => (),
            Ok(_) => return Ok(peak),
            Err(error) => return Err(error).context("waiting for zs"),
        }
    }
}
