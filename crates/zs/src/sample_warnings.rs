//! What is to be known of pages of processes: what was left out, lost, or counted otherwise than it
//! seems.

use crate::sources::{Live, Ran};
use crate::units::{Size, Time};
use std::collections::BTreeMap;
use zs_mm::PageSize;
use zs_pages::{SampledProcess, Skipped};

/// Numbers of processes that a line shows.
const SHOWN: usize = 5;

impl Live {
    /// Returns all of it, a line each.
    pub(crate) fn notes(&self, page: PageSize) -> Vec<String> {
        let mut notes: Vec<String> = self.command.iter().map(moment).collect();
        let failed = self.command.iter().filter_map(|ran| ran.failed.as_ref());
        notes.extend(failed.map(|error| format!("after that no sample could be taken: {error}")));
        notes.extend(self.left_behind());
        notes.extend(self.unread_lines());
        notes.extend(self.left_out());
        notes.extend(self.shared_memory_lines(page));
        notes.extend(self.counted(page));
        notes
    }

    /// Processes that were not read, those of one reason on one line.
    pub(crate) fn unread_lines(&self) -> Vec<String> {
        let mut by_reason: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for unread in &self.unread {
            let reason = unread.reason.to_string();
            by_reason.entry(reason).or_default().push(unread.pid);
        }
        let lines = by_reason.iter().map(|(reason, pids)| match &pids[..] {
            [pid] => format!("process {pid} was not read: {reason}"),
            pids => format!(
                "{} processes were not read ({}): {reason}",
                pids.len(),
                some(pids)
            ),
        });
        lines.collect()
    }

    /// Returns what a command left running.
    pub(crate) fn left_behind(&self) -> Option<String> {
        let left = &self.command.as_ref()?.left;
        let (first, _) = left.first()?;
        let all: Vec<String> = left
            .iter()
            .map(|(pid, name)| format!("{pid} ({name})"))
            .collect();
        Some(format!(
            "it left processes running that are not waited for: {}; sample them by zs estimate --pid {first}",
            all.join(", ")
        ))
    }

    /// Memory that must not be read.
    fn left_out(&self) -> Option<String> {
        let mut all = Skipped::default();
        for process in &self.processes {
            for (reason, bytes) in process.skipped.iter() {
                all.add(reason, bytes);
            }
        }
        let parts: Vec<String> = all
            .iter()
            .map(|(reason, bytes)| format!("{} {}", Size(bytes), reason.name()))
            .collect();
        (!parts.is_empty()).then(|| format!("left out: {}", parts.join(", ")))
    }

    /// Returns the proportional shares of shared memory of all that were read, in bytes; `None` if
    /// the system does not tell.
    pub(crate) fn shared_memory(&self) -> Option<u64> {
        let of = self.processes.iter().map(|process| process.shared_memory);
        of.sum()
    }

    /// Returns how much shared memory there is, and whether it counts.
    fn shared_memory_lines(&self, page: PageSize) -> Option<String> {
        let all = match self.shared_memory() {
            Some(0) => return None,
            Some(all) => Size(all).to_string(),
            None => "shared memory, the system does not say how much (before Linux 5.3)".to_owned(),
        };
        let pages: u64 = self
            .processes
            .iter()
            .map(|process| process.shared().pages)
            .sum();
        Some(match (self.sampling.shared, self.shared_memory()) {
            (true, Some(_)) => format!(
                "shared memory is among it, each page once: {}; {all} by its proportional share (Pss_Shmem)",
                Size(pages << page.shift())
            ),
            (true, None) => format!(
                "shared memory is among it, each page once: {}",
                Size(pages << page.shift())
            ),
            (false, Some(_)) => format!(
                "left out: {all} of shared memory (memfd, tmpfs, shmget, MAP_SHARED; Pss_Shmem): --shared samples it"
            ),
            (false, None) => format!("left out: {all}: --shared samples it"),
        })
    }

    /// Tells of pages that are not what they seem.
    fn counted(&self, page: PageSize) -> Vec<String> {
        let bytes = |pages: u64| Size(pages << page.shift());
        let sum = |of: fn(&SampledProcess) -> u64| {
            let sum = self.processes.iter().map(of).sum::<u64>();
            Some(sum).filter(|pages| *pages > 0)
        };
        let count = |of: fn(&SampledProcess) -> bool| {
            let found = self.processes.iter().filter(|process| of(process));
            Some(found.count()).filter(|count| *count > 0)
        };
        let lines = [
            sum(|process| process.swapped).map(|swapped| format!("{} of it were in swap", bytes(swapped))),
            sum(|process| process.counted_elsewhere).map(|elsewhere| {
                format!(
                    "pages that processes share are counted once: {} more are mapped",
                    bytes(elsewhere)
                )
            }),
            count(|process| process.hidden().pages > 0).map(|count| {
                format!(
                    "{count} of the processes share pages, and the system does not say with whom: those are counted by their proportional share (Pss); root is told (CAP_SYS_ADMIN)"
                )
            }),
            count(|process| !process.is_covered()).map(|count| {
                format!("{count} of the processes have too few pages in the sample, and are not in the total: ask for a larger --sample")
            }),
            sum(SampledProcess::changed)
                .map(|changed| format!("{} changed while they were read", pages(changed))),
            sum(SampledProcess::vanished)
                .map(|vanished| format!("{} were gone before they were read", pages(vanished))),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// Returns the moment that a command was sampled at.
fn moment(ran: &Ran) -> String {
    let after = Time(ran.sampled_after.as_nanos() as f64);
    let (at, most) = (Size(ran.at_sample), Size(ran.largest));
    let percent = ran.at_sample as f64 * 100.0 / ran.largest.max(1) as f64;
    format!(
        "{}: sampled {after} after its start, when it and its descendants had {at}: {percent:.0} % of the most that was counted, {most} (memory that forks share counts for each there)",
        ran.name
    )
}

fn pages(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} page{plural}")
}

/// Returns a few numbers of many.
fn some(pids: &[u32]) -> String {
    let shown: Vec<String> = pids.iter().take(SHOWN).map(u32::to_string).collect();
    let more = if pids.len() > SHOWN { ", ..." } else { "" };
    shown.join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::some;

    #[test]
    fn many_numbers_are_cut_short() {
        assert_eq!(some(&[1, 2]), "1, 2");
        assert_eq!(some(&[1, 2, 3, 4, 5]), "1, 2, 3, 4, 5");
        assert_eq!(some(&[1, 2, 3, 4, 5, 6]), "1, 2, 3, 4, 5, ...");
    }
}
