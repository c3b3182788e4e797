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

/// Pages that count alike.
#[derive(Debug, Default)]
pub(super) struct Stratum {
    /// In the order of their addresses.
    pub(super) runs: Vec<Run>,
    pub(super) pages: u64,
    /// What one of them counts.
    pub(super) weight: f64,
}

/// The anonymous pages of a process, in memory or in swap, at one moment.
#[derive(Debug)]
pub(super) struct Census {
    pub(super) pid: u32,
    pub(super) stat: Stat,
    /// Pages that are its own, or were first met here; then those that it shares, the system does not say with whom.
    pub(super) strata: [Stratum; 2],
    pub(super) swapped: u64,
    /// Pages that were counted for a process before.
    pub(super) counted_elsewhere: u64,
    pub(super) skipped: Skipped,
}

impl Census {
    /// Counts a process's pages; those that `seen` knows already belong to somebody else.
    pub(super) fn take(pid: u32, page: u64, seen: &mut SeenPlaces) -> Result<Self, UnreadReason> {
        if pid == process::id() {
            return Err(UnreadReason::Itself);
        }
        let dir = ProcDir::open(pid).map_err(|_| UnreadReason::NoSuchProcess)?;
        let stat = dir
            .stat()
            .map_err(|source| UnreadReason::of("stat", &dir, source))?;
        if stat.is_kernel_thread {
            return Err(UnreadReason::KernelThread);
        }
        if stat.has_ended() {
            return Err(UnreadReason::Zombie);
        }
        check_leader(pid, &dir)?;
        // Asked for here, so that nobody is counted who cannot be read.
        dir.file("mem")
            .map_err(|source| UnreadReason::of("mem", &dir, source))?;
        let mut census = Self {
            pid,
            stat,
            strata: Default::default(),
            swapped: 0,
            counted_elsewhere: 0,
            skipped: Skipped::default(),
        };
        census.count(&dir, page, seen)?;
        census.weigh(&dir, page)?;
        match census.pages() + census.counted_elsewhere {
            0 => Err(UnreadReason::NothingAnonymous(census.skipped)),
            _ => Ok(census),
        }
    }

    fn pages(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.pages).sum()
    }

    fn count(
        &mut self,
        dir: &ProcDir,
        page: u64,
        seen: &mut SeenPlaces,
    ) -> Result<(), UnreadReason> {
        let smaps = dir.read("smaps");
        let smaps = smaps.map_err(|source| UnreadReason::of("smaps", dir, source))?;
        if smaps.is_empty() {
            // Not a mapping is left: its memory went before the rest of it.
            return Err(UnreadReason::Ended);
        }
        let map = Pagemap::open(dir, page);
        let mut map = map.map_err(|source| UnreadReason::of("pagemap", dir, source))?;
        for mapping in smaps::parse(&smaps) {
            if mapping.anonymous == 0 {
                continue;
            }
            if let Some(reason) = mapping.skip {
                self.skipped.add(reason, mapping.anonymous);
                continue;
            }
            let counted = map.anonymous(mapping.addresses, &mut |number, entry| {
                let stratum = match seen.look(entry) {
                    Sharing::Own => 0,
                    Sharing::Hidden => 1,
                    Sharing::Again => {
                        self.counted_elsewhere += 1;
                        return;
                    }
                };
                self.swapped += u64::from(entry.is_swapped());
                self.strata[stratum].add(number);
            });
            counted.map_err(|source| UnreadReason::of("pagemap", dir, source))?;
        }
        Ok(())
    }

    /// Own pages count whole; the others what is left of the proportional share of all.
    fn weigh(&mut self, dir: &ProcDir, page: u64) -> Result<(), UnreadReason> {
        const FILE: &str = "smaps_rollup";
        let [own, shared] = &mut self.strata;
        own.weight = 1.0;
        shared.weight = 1.0;
        if shared.pages == 0 {
            return Ok(());
        }
        let share = dir.sum_of(FILE, &["Pss_Anon", "SwapPss"]);
        let share = share.map_err(|source| UnreadReason::of(FILE, dir, source))?;
        // The share has those that are left out in it; they count whole there, as far as is known.
        let skipped: u64 = self.skipped.iter().map(|(_, bytes)| bytes).sum();
        let left = share.saturating_sub(own.pages * page + skipped) as f64;
        shared.weight = (left / (shared.pages * page) as f64).clamp(0.0, 1.0);
        Ok(())
    }

    /// Opens the folder of the process, unless its number is another's by now, or it runs another program.
    pub(super) fn reopen(&self) -> Result<ProcDir, UnreadReason> {
        let ended = |_| UnreadReason::Ended;
        let dir = ProcDir::open(self.pid).map_err(ended)?;
        let now = dir.stat().map_err(ended)?;
        if self.stat.is_same_program(&now) {
            Ok(dir)
        } else {
            Err(UnreadReason::Ended)
        }
    }
}

impl Stratum {
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
}

/// A thread has a folder of its own, that shows the memory of its process: it must not be counted twice.
fn check_leader(pid: u32, dir: &ProcDir) -> Result<(), UnreadReason> {
    let status = dir.read("status");
    let status = status.map_err(|source| UnreadReason::of("status", dir, source))?;
    let mut lines = status.split(|&byte| byte == b'\n');
    let leader = lines.find_map(|line| line.strip_prefix(b"Tgid:"));
    let leader = leader.and_then(|value| str::from_utf8(value).ok()?.trim().parse().ok());
    match leader {
        Some(leader) if leader != pid => Err(UnreadReason::Thread(leader)),
        _ => Ok(()),
    }
}
