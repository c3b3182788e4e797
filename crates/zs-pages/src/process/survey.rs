//! A sample of the memory of processes.

use super::census::Census;
use super::sampler::{Sampled, Sampler, Stop, allot};
use super::seen::SeenPlaces;
use super::unread::{Skipped, UnreadReason};
use crate::error::Error;
use crate::page_file::PageFile;
use crate::spool::Spool;
use zs_mm::PageSize;
use zs_os::os_page_size;

/// How much is sampled, and by which random numbers.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions {
    /// The most bytes that are read, of all processes together; at least one page is.
    pub bytes: u64,
    /// With the same pages, a seed always chooses the same.
    pub seed: u64,
}

/// What was read of some processes. Their sampled pages lie in [`pages`](Self::pages) one process after the other, in the
/// order of [`processes`](Self::processes).
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
    /// Its anonymous pages, in memory or in swap, those that are left out not counted: each is as likely to be sampled.
    pub pages: u64,
    /// Of these, pages in swap.
    pub swapped: u64,
    /// Pages that it shares with a process further up in the list, which they are counted for.
    pub counted_elsewhere: u64,
    /// What each page counts: 1, or less if pages are shared and the system does not say with whom: then the proportional
    /// share of all its anonymous memory.
    pub weight: f64,
    /// Pages that were read.
    pub sampled: u64,
    /// Of these, pages that changed while they were read.
    pub changed: u64,
    /// Pages that were to be read, but were gone.
    pub vanished: u64,
    /// Bytes of anonymous memory that are left out.
    pub skipped: Skipped,
}

/// A process that was not read.
#[derive(Debug)]
pub struct Unread {
    /// Its number.
    pub pid: u32,
    /// Why.
    pub reason: UnreadReason,
}

/// Counts the anonymous pages of processes, then reads a random sample of them.
///
/// Each page is counted once, also if a fork shares it. Reading a page takes it out of swap. Nothing is stopped meanwhile:
/// what ends or changes is counted and said. Walks the page tables of each process twice (some 30 ms for each GiB), and
/// keeps 16 bytes for each run of pages that lie side by side.
///
/// # Errors
/// Of the file that the pages are written to; what is wrong with a process is in [`Survey::unread`].
pub fn survey(
    pids: &[u32],
    options: SampleOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Survey, Error> {
    let page = system_page_size()?;
    let mut seen = SeenPlaces::default();
    let (mut censuses, mut unread) = (Vec::new(), Vec::new());
    for &pid in pids {
        match Census::take(pid, page.bytes() as u64, &mut seen) {
            Ok(census) => censuses.push(census),
            Err(reason) => unread.push(Unread { pid, reason }),
        }
    }
    let counts: Vec<u64> = censuses.iter().map(|census| census.pages).collect();
    let picks = allot(&counts, (options.bytes / page.bytes() as u64).max(1));
    let mut spool = Spool::new(page)?;
    let mut sampler = Sampler::new(&mut spool, options.seed);
    let mut processes = Vec::new();
    for (census, picks) in censuses.into_iter().zip(picks) {
        match sampler.sample(&census, picks, progress) {
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

/// The system's page size, which processes are sampled in.
///
/// # Errors
/// [`Error::PageSize`] if no pool has frames of that size.
pub fn system_page_size() -> Result<PageSize, Error> {
    let bytes = os_page_size();
    let known = PageSize::ALL.into_iter().find(|page| page.bytes() == bytes);
    known.ok_or(Error::PageSize(bytes))
}

impl SampledProcess {
    fn new(census: Census, sampled: &Sampled) -> Self {
        Self {
            pid: census.pid,
            name: census.stat.name,
            pages: census.pages,
            swapped: census.swapped,
            counted_elsewhere: census.counted_elsewhere,
            weight: census.weight,
            sampled: sampled.pages,
            changed: sampled.changed,
            vanished: sampled.vanished,
            skipped: census.skipped,
        }
    }
}
