//! A sample of the memory of processes.

use super::census::{Census, HIDDEN, SHARED_MEMORY, STRATA};
use super::list::check_proc;
use super::sampler::{Sampled, Sampler, Stop, allot};
use super::seen::Seen;
use super::unread::{Skipped, UnreadReason};
use crate::error::Error;
use crate::page_file::PageFile;
use crate::spool::Spool;
use zs_mm::PageSize;
use zs_os::os_page_size;

/// The size of a sample, and the seed of its random numbers.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions {
    /// The most bytes that are read, of all processes together; at least one page is.
    pub bytes: u64,
    /// With the same pages, a seed always chooses the same.
    pub seed: u64,
    /// Shared memory is sampled, too.
    pub shared: bool,
}

/// What was read of some processes. Their sampled pages lie in [`pages`](Self::pages) one process
/// after the other, in the order of [`processes`](Self::processes).
#[derive(Debug, Default)]
pub struct Survey {
    /// The sampled pages; `None` if there are none.
    pub pages: Option<PageFile>,
    /// Processes that were read.
    pub processes: Vec<SampledProcess>,
    /// Processes that were not.
    pub unread: Vec<Unread>,
}

/// A process that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledProcess {
    /// Its number.
    pub pid: u32,
    /// Its command, as it names itself; nothing in it that a terminal would obey.
    pub name: String,
    /// Its pages, those that are left out not counted, in parts: anonymous ones that are its own
    /// or are counted here for all who share them; anonymous ones that it shares while the
    /// system does not say with whom; and, if that was asked for, pages of shared memory that
    /// are counted here for all who map them. In [`Survey::pages`] the parts lie one after the
    /// other.
    pub strata: [SampledStratum; STRATA],
    /// Of the anonymous pages, those in swap.
    pub swapped: u64,
    /// Pages that it shares with a process further up in the list, which they are counted for.
    pub counted_elsewhere: u64,
    /// Bytes of memory that are left out.
    pub skipped: Skipped,
    /// Bytes of shared memory that it has mapped, each divided by the number of those who map it
    /// (`Pss_Shmem` of proc_pid_smaps(5)), sampled or not; `None` if the system does not tell,
    /// as before Linux 5.3.
    pub shared_memory: Option<u64>,
}

/// Pages of a process that count alike.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SampledStratum {
    /// Pages, each of which is as likely to be sampled.
    pub pages: u64,
    /// The weight of each: 1, or, of shared pages, the rest of the proportional share of all.
    pub weight: f64,
    /// Pages that were read.
    pub sampled: u64,
    /// Of these, pages that changed while they were read.
    pub changed: u64,
    /// Pages that were to be read, but were gone.
    pub vanished: u64,
}

/// A process that was not read.
#[derive(Debug)]
pub struct Unread {
    /// Its number.
    pub pid: u32,
    /// Why.
    pub reason: UnreadReason,
}

/// Counts the anonymous pages of processes, and their shared memory if that is asked for, then
/// reads a random sample of them.
///
/// Each page is counted once, also if a fork shares it. Of shared memory the pages count that a
/// process has mapped at that moment: of memfd, tmpfs (`/dev/shm`), `shmget` and shared anonymous
/// mappings; those in swap, or that nobody has touched since, are not seen. Reading a page takes it
/// out of swap. Nothing is stopped meanwhile: what ends or changes is counted and said. Walks the
/// page tables of each process three times (some 30 ms for each GiB), and keeps 16 bytes for each
/// run of pages that lie side by side.
///
/// # Errors
/// Of the file that the pages are written to; what is wrong with a process is in
/// [`Survey::unread`].
pub fn survey(
    pids: &[u32],
    options: SampleOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Survey, Error> {
    let page = system_page_size()?;
    check_proc()?;
    let mut seen = Seen::default();
    let (mut censuses, mut unread) = (Vec::new(), Vec::new());
    for &pid in pids {
        match Census::take(pid, page.bytes() as u64, options.shared, &mut seen) {
            Ok(census) => censuses.push(census),
            Err(reason) => unread.push(Unread { pid, reason }),
        }
    }
    let strata = censuses.iter().flat_map(|census| &census.strata);
    let counts: Vec<u64> = strata.map(|stratum| stratum.pages).collect();
    let picks = allot(&counts, (options.bytes / page.bytes() as u64).max(1));
    let mut spool = Spool::new(page)?;
    let mut sampler = Sampler::new(&mut spool, options.seed);
    let mut processes = Vec::new();
    let (picks, _) = picks.as_chunks::<STRATA>();
    for (census, picks) in censuses.into_iter().zip(picks) {
        match sampler.sample(&census, *picks, progress) {
            Ok(sampled) => processes.push(SampledProcess::new(census, &sampled)),
            Err(Stop::Process(reason)) => unread.push(Unread {
                pid: census.pid,
                reason,
            }),
            Err(Stop::Spool(error)) => return Err(error),
        }
    }
    let pages = (spool.len() > 0).then(|| spool.finish()).transpose()?;
    Ok(Survey {
        pages,
        processes,
        unread,
    })
}

/// Returns the system's page size, which processes are sampled in.
///
/// # Errors
/// [`Error::PageSize`] if no pool has frames of that size.
pub fn system_page_size() -> Result<PageSize, Error> {
    let bytes = os_page_size();
    let known = PageSize::ALL.into_iter().find(|page| page.bytes() == bytes);
    known.ok_or(Error::PageSize(bytes))
}

impl SampledProcess {
    fn new(census: Census, sampled: &[Sampled; STRATA]) -> Self {
        let mut strata = [SampledStratum::default(); STRATA];
        for ((stratum, counted), sampled) in strata.iter_mut().zip(&census.strata).zip(sampled) {
            *stratum = SampledStratum {
                pages: counted.pages,
                weight: counted.weight,
                sampled: sampled.pages,
                changed: sampled.changed,
                vanished: sampled.vanished,
            };
        }
        Self {
            pid: census.pid,
            name: census.stat.name,
            strata,
            swapped: census.swapped,
            counted_elsewhere: census.counted_elsewhere,
            skipped: census.skipped,
            shared_memory: census.shared_memory,
        }
    }

    /// Returns the anonymous pages that it shares, the system does not say with whom.
    pub fn hidden(&self) -> &SampledStratum {
        &self.strata[HIDDEN]
    }

    /// Returns the pages of shared memory that are counted for it.
    pub fn shared(&self) -> &SampledStratum {
        &self.strata[SHARED_MEMORY]
    }

    /// Returns all its pages.
    pub fn pages(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.pages).sum()
    }

    /// Returns what they count together, in pages.
    pub fn weighted_pages(&self) -> f64 {
        self.strata.iter().map(SampledStratum::weighted).sum()
    }

    /// Returns the number of pages that were read.
    pub fn sampled(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.sampled).sum()
    }

    /// Says whether something is known of all its pages: of each stratum that has some, a page was
    /// read.
    pub fn is_covered(&self) -> bool {
        let known = |stratum: &SampledStratum| stratum.pages == 0 || stratum.sampled > 0;
        self.strata.iter().all(known)
    }

    /// Of these, pages that changed while they were read.
    pub fn changed(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.changed).sum()
    }

    /// Returns the number of pages that were to be read, but were gone.
    pub fn vanished(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.vanished).sum()
    }
}

impl SampledStratum {
    /// Returns what its pages count together, in pages.
    pub fn weighted(&self) -> f64 {
        self.pages as f64 * self.weight
    }
}
