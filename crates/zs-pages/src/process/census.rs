//! All pages of one process that may be sampled, counted before any is read.

use super::pagemap::Pagemap;
use super::proc_dir::{ProcDir, Stat};
use super::seen::{SeenPlaces, Sharing};
use super::smaps;
use super::unread::{Skipped, UnreadReason};
use std::process;

/// Pages in a row, by number (address over page size).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) pages: u64,
}

/// The anonymous pages of a process, in memory or in swap, at one moment.
#[derive(Debug)]
pub(super) struct Census {
    pub(super) pid: u32,
    pub(super) stat: Stat,
    /// In the order of their addresses.
    pub(super) runs: Vec<Run>,
    pub(super) pages: u64,
    pub(super) swapped: u64,
    /// Pages that were counted for a process before.
    pub(super) counted_elsewhere: u64,
    /// Whether some pages are shared, and the kernel does not say with whom.
    pub(super) has_hidden: bool,
    /// What one page counts: less than 1 if `has_hidden`.
    pub(super) weight: f64,
    pub(super) skipped: Skipped,
}

impl Census {
    /// Counts a process's pages; those that `seen` knows already belong to somebody else.
    pub(super) fn take(pid: u32, page: u64, seen: &mut SeenPlaces) -> Result<Self, UnreadReason> {
        if pid == process::id() {
            return Err(UnreadReason::Itself);
        }
        let dir = ProcDir::open(pid).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => UnreadReason::NoSuchProcess,
            _ => UnreadReason::of("stat", source),
        })?;
        let stat = dir
            .stat()
            .map_err(|source| UnreadReason::of("stat", source))?;
        if stat.is_kernel_thread {
            return Err(UnreadReason::KernelThread);
        }
        if stat.has_ended() {
            return Err(UnreadReason::Zombie);
        }
        check_leader(pid, &dir)?;
        // Asked for here, so that nobody is counted who cannot be read.
        dir.file("mem")
            .map_err(|source| UnreadReason::of("mem", source))?;
        let mut census = Self {
            pid,
            stat,
            runs: Vec::new(),
            pages: 0,
            swapped: 0,
            counted_elsewhere: 0,
            has_hidden: false,
            weight: 1.0,
            skipped: Skipped::default(),
        };
        census.count(&dir, page, seen)?;
        if census.has_hidden {
            census.weight = weight(&dir)?;
        }
        match census.pages + census.counted_elsewhere {
            0 => Err(UnreadReason::NothingAnonymous(census.skipped)),
            _ => Ok(census),
        }
    }

    fn count(
        &mut self,
        dir: &ProcDir,
        page: u64,
        seen: &mut SeenPlaces,
    ) -> Result<(), UnreadReason> {
        let smaps = dir.read("smaps");
        let smaps = smaps.map_err(|source| UnreadReason::of("smaps", source))?;
        if smaps.is_empty() {
            // Not a mapping is left: its memory went before the rest of it.
            return Err(UnreadReason::Ended);
        }
        let map = Pagemap::open(dir, page);
        let mut map = map.map_err(|source| UnreadReason::of("pagemap", source))?;
        for mapping in smaps::parse(&smaps) {
            if mapping.anonymous == 0 {
                continue;
            }
            if let Some(reason) = mapping.skip {
                self.skipped.add(reason, mapping.anonymous);
                continue;
            }
            map.anonymous(mapping.addresses, &mut |number, entry| {
                match seen.look(entry) {
                    Sharing::Counts => (),
                    Sharing::Hidden => self.has_hidden = true,
                    Sharing::Again => {
                        self.counted_elsewhere += 1;
                        return;
                    }
                }
                self.swapped += u64::from(entry.is_swapped());
                self.add(number);
            })
            .map_err(|source| UnreadReason::of("pagemap", source))?;
        }
        Ok(())
    }

    fn add(&mut self, number: u64) {
        self.pages += 1;
        match self.runs.last_mut() {
            Some(run) if run.start + run.pages == number => run.pages += 1,
            _ => self.runs.push(Run {
                start: number,
                pages: 1,
            }),
        }
    }

    /// Opens the process's memory, unless its number is another's by now.
    pub(super) fn reopen(&self) -> Result<std::fs::File, UnreadReason> {
        let ended = |_| UnreadReason::Ended;
        let dir = ProcDir::open(self.pid).map_err(ended)?;
        if dir.stat().map_err(ended)?.start != self.stat.start {
            return Err(UnreadReason::Ended);
        }
        dir.file("mem")
            .map_err(|source| UnreadReason::of("mem", source))
    }
}

/// A thread has a folder of its own, that shows the memory of its process: it must not be counted twice.
fn check_leader(pid: u32, dir: &ProcDir) -> Result<(), UnreadReason> {
    let status = dir.read("status");
    let status = status.map_err(|source| UnreadReason::of("status", source))?;
    let mut lines = status.split(|&byte| byte == b'\n');
    let leader = lines.find_map(|line| line.strip_prefix(b"Tgid:"));
    let leader = leader.and_then(|value| str::from_utf8(value).ok()?.trim().parse().ok());
    match leader {
        Some(leader) if leader != pid => Err(UnreadReason::Thread(leader)),
        _ => Ok(()),
    }
}

/// The proportional share of a process's anonymous pages: what is shared by two counts half for each.
fn weight(dir: &ProcDir) -> Result<f64, UnreadReason> {
    const FILE: &str = "smaps_rollup";
    let sum = |names: &[&str]| {
        let sum = dir.sum_of(FILE, names);
        sum.map_err(|source| UnreadReason::of(FILE, source))
    };
    let share = sum(&["Pss_Anon", "SwapPss"])?;
    let whole = sum(&["Anonymous", "Swap"])?;
    Ok((share as f64 / whole.max(1) as f64).clamp(0.0, 1.0))
}
