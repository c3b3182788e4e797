//! A sample of the memory of several processes.

use super::census::{Census, HIDDEN, SHARED_MEMORY, STRATA};
use super::process_list::check_proc;
use super::sampler::{Sampled, Sampler, StopReason, allot};
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
    /// The most bytes that are read from all processes together. At least one page is read.
    pub bytes: u64,
    /// The seed of the random numbers. With the same pages, a seed always chooses the same ones.
    pub seed: u64,
    /// Shared memory is sampled too.
    pub shared: bool,
}

/// The sample of some processes. [`pages`](Self::pages) holds the sampled pages, one process after
/// the other, in the order of [`processes`](Self::processes).
#[derive(Debug, Default)]
pub struct Survey {
    /// The sampled pages; `None` if there are none.
    pub pages: Option<PageFile>,
    /// Processes that were read.
    pub processes: Vec<SampledProcess>,
    /// Processes that were not read.
    pub unread: Vec<Unread>,
}

/// A process that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledProcess {
    /// Its number.
    pub pid: u32,
    /// The name that its command gives itself, in printable characters.
    pub name: String,
    /// Its pages without those that are left out, in three strata: anonymous pages that only it
    /// has, or that are counted here for all processes that share them; anonymous pages that it
    /// shares with processes which the system does not tell; and, if requested, pages of shared
    /// memory that are counted here for all processes that map them. In [`Survey::pages`] the
    /// strata lie one after the other.
    pub strata: [SampledStratum; STRATA],
    /// The anonymous pages that are in swap.
    pub swapped: u64,
    /// Pages that are counted for an earlier process in the list, which shares them.
    pub counted_elsewhere: u64,
    /// The bytes of memory that are left out.
    pub skipped: Skipped,
    /// The bytes of shared memory that it has mapped, sampled or not. Each byte is divided by the
    /// number of processes that map it (`Pss_Shmem` of proc_pid_smaps(5)). `None` if the system
    /// does not tell, as before Linux 5.3.
    pub shared_memory: Option<u64>,
}

/// Pages of a process with one weight.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SampledStratum {
    /// The number of pages. Each is sampled with the same probability.
    pub pages: u64,
    /// The weight of each page: 1, or 0 to 1 for pages shared with unknown processes.
    pub weight: f64,
    /// Pages that were read.
    pub sampled: u64,
    /// The pages among these that changed while they were read.
    pub changed: u64,
    /// Pages that were chosen, but had vanished before they were read.
    pub vanished: u64,
}

/// A process that was not read.
#[derive(Debug)]
pub struct Unread {
    /// Its number.
    pub pid: u32,
    /// The reason.
    pub reason: UnreadReason,
}

/// Counts the anonymous pages of processes, and their shared memory if requested, then reads a
/// random sample of them.
///
/// Each page counts once, even if a fork shares it. Shared memory is that of memfd, tmpfs
/// (`/dev/shm`), `shmget` and shared anonymous mappings. Its pages count if a process has them
/// mapped at that moment; pages in swap, or not touched since, are not seen. Reading a page takes
/// it out of swap. Processes are not stopped: those that end and pages that change meanwhile are
/// reported. The page tables of each process are walked three times (some 30 ms for each GiB). Each
/// run of consecutive pages takes 16 bytes of memory.
///
/// # Errors
/// The errors of the file that the pages are written to, of `/proc`, and of an unknown page size.
/// Errors of single processes are in [`Survey::unread`].
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
            Err(StopReason::Process(reason)) => unread.push(Unread {
                pid: census.pid,
                reason,
            }),
            Err(StopReason::Spool(error)) => return Err(error),
        }
    }
    let pages = (spool.len() > 0).then(|| spool.finish()).transpose()?;
    Ok(Survey {
        pages,
        processes,
        unread,
    })
}

/// Returns the system's page size, in which processes are sampled.
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

    /// Returns the anonymous pages that it shares with processes which the system does not tell.
    pub fn hidden(&self) -> &SampledStratum {
        &self.strata[HIDDEN]
    }

    /// Returns the pages of shared memory that are counted for it.
    pub fn shared(&self) -> &SampledStratum {
        &self.strata[SHARED_MEMORY]
    }

    /// Returns the number of all its pages.
    pub fn pages(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.pages).sum()
    }

    /// Returns the weighted sum of its pages.
    pub fn weighted_pages(&self) -> f64 {
        self.strata.iter().map(SampledStratum::weighted).sum()
    }

    /// Returns the number of pages that were read.
    pub fn sampled(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.sampled).sum()
    }

    /// Says whether at least one page was read of each stratum that has pages.
    pub fn is_covered(&self) -> bool {
        let known = |stratum: &SampledStratum| stratum.pages == 0 || stratum.sampled > 0;
        self.strata.iter().all(known)
    }

    /// Returns the number of pages that changed while they were read.
    pub fn changed(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.changed).sum()
    }

    /// Returns the number of pages that were chosen, but had vanished before they were read.
    pub fn vanished(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.vanished).sum()
    }
}

impl SampledStratum {
    /// Returns the weighted sum of its pages.
    pub fn weighted(&self) -> f64 {
        self.pages as f64 * self.weight
    }
}
