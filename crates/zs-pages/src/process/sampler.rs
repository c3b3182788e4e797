//! Chooses pages at random, and reads them.

use super::census::{Census, PageRun, STRATA, kind_of};
use super::pagemap::Pagemap;
use super::proc_dir::ProcDir;
use super::scan_ioctl::PageKind;
use super::unread::UnreadReason;
use crate::error::Error;
use crate::lengths::to_usize;
use crate::spool::Spool;
use fastrand::Rng;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The bytes that are read at a time: a whole number of pages of every size.
const CHUNK: usize = 1 << 20;

/// The least pages for each process, if the sample is large enough. With fewer, the share of zero
/// pages would be meaningless.
const FLOOR: u64 = 256;

/// Divides a sample between processes in proportion to their pages, with at least [`FLOOR`] for
/// each. Returns the parts. Their sum is `sample`, or all pages if there are fewer.
pub(super) fn allot(pages: &[u64], sample: u64) -> Vec<u64> {
    let all: u64 = pages.iter().sum();
    if all <= sample {
        return pages.to_vec();
    }
    // The floors take at most half of the sample, so that enough is left for large processes.
    let floor = FLOOR.min(sample / 2 / pages.len().max(1) as u64);
    let floors = pages.iter().map(|&count| count.min(floor));
    let (rest, left) = (
        sample - floors.clone().sum::<u64>(),
        all - floors.clone().sum::<u64>(),
    );
    // Each partial sum is rounded, not each part, so that the parts add up.
    let mut before = 0_u128;
    let parts = pages.iter().zip(floors).map(|(&count, floor)| {
        let after = before + u128::from(count - floor);
        let upto = |sum: u128| {
            let part = sum * u128::from(rest) / u128::from(left);
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let part = floor + upto(after) - upto(before);
        before = after;
        part
    });
    parts.collect()
}

/// Chooses `picks` of the pages of `runs`, each set of that many with the same probability. Calls
/// `chosen` with the chosen pages in order, as runs. Takes one random number for each page
/// (selection sampling: Knuth, volume 2, 3.4.2, algorithm S).
fn choose(
    runs: &[PageRun],
    picks: u64,
    rng: &mut Rng,
    chosen: &mut dyn FnMut(PageRun) -> Result<(), StopReason>,
) -> Result<(), StopReason> {
    let mut left: u64 = runs.iter().map(|run| run.pages).sum();
    let mut wanted = picks.min(left);
    let mut at_hand: Option<PageRun> = None;
    for number in runs.iter().flat_map(|run| run.start..run.start + run.pages) {
        if wanted == 0 {
            break;
        }
        let is_chosen = rng.u64(0..left) < wanted;
        left -= 1;
        if !is_chosen {
            continue;
        }
        wanted -= 1;
        match &mut at_hand {
            Some(run) if run.start + run.pages == number => run.pages += 1,
            _ => {
                let next = PageRun {
                    start: number,
                    pages: 1,
                };
                if let Some(run) = at_hand.replace(next) {
                    chosen(run)?;
                }
            }
        }
    }
    at_hand.map_or(Ok(()), chosen)
}

/// The reason why the reading of a process stops.
pub(super) enum StopReason {
    /// The process cannot be sampled any more.
    Process(UnreadReason),
    /// The sample cannot be stored.
    Spool(Error),
}

/// The pages that were read of a stratum.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    pub(super) pages: u64,
    /// The pages among these that had changed at the second reading, which counts.
    pub(super) changed: u64,
    /// Pages that were chosen, but had vanished before they were read.
    pub(super) vanished: u64,
}

/// Reads pages of processes into a spool.
pub(super) struct Sampler<'a> {
    spool: &'a mut Spool,
    page: u64,
    rng: Rng,
    first: Vec<u8>,
    second: Vec<u8>,
    /// A closure that tests run between the two readings.
    #[cfg(test)]
    pub(super) between: Option<&'a mut dyn FnMut()>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(spool: &'a mut Spool, seed: u64) -> Self {
        Self {
            page: spool.page_size().bytes() as u64,
            spool,
            rng: Rng::with_seed(seed),
            first: vec![0; CHUNK],
            second: vec![0; CHUNK],
            #[cfg(test)]
            between: None,
        }
    }

    /// Returns the length of a page.
    fn page_len(&self) -> usize {
        to_usize(self.page)
    }

    /// Reads `picks` pages of each stratum of a process, chosen at random. Calls `progress` with
    /// the bytes of each step. If the process ends or runs another program meanwhile, nothing is
    /// kept, because its first pages alone would be no fair sample.
    pub(super) fn sample(
        &mut self,
        census: &Census,
        picks: [u64; STRATA],
        progress: &mut dyn FnMut(u64),
    ) -> Result<[Sampled; STRATA], StopReason> {
        let before = self.spool.len();
        let read = self.sample_strata(census, picks, progress);
        if read.is_err() {
            self.spool.rewind(before);
        }
        read
    }

    fn sample_strata(
        &mut self,
        census: &Census,
        picks: [u64; STRATA],
        progress: &mut dyn FnMut(u64),
    ) -> Result<[Sampled; STRATA], StopReason> {
        let dir = census.reopen().map_err(StopReason::Process)?;
        let failed = |file, source| StopReason::Process(UnreadReason::of(file, &dir, source));
        let mut process = OpenProcess {
            memory: dir.file("mem").map_err(|source| failed("mem", source))?,
            map: Pagemap::open(&dir, self.page).map_err(|source| failed("pagemap", source))?,
            kind: PageKind::Anonymous,
            source: PathBuf::from(format!("/proc/{}/mem", census.pid)),
            dir: &dir,
        };
        let mut rng = self.rng.fork();
        let mut sampled: [Sampled; STRATA] = Default::default();
        for (index, sampled) in sampled.iter_mut().enumerate() {
            let (stratum, picks) = (&census.strata[index], picks[index]);
            process.kind = kind_of(index);
            choose(&stratum.runs, picks, &mut rng, &mut |run| {
                self.read_run(&mut process, run, sampled, progress)
            })?;
        }
        // After an exec, the pages would belong to another program.
        census.reopen().map_err(StopReason::Process)?;
        Ok(sampled)
    }

    fn read_run(
        &mut self,
        process: &mut OpenProcess<'_>,
        run: PageRun,
        sampled: &mut Sampled,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StopReason> {
        let chunk = CHUNK / self.page_len();
        for start in (run.start..run.start + run.pages).step_by(chunk) {
            let pages = (chunk as u64).min(run.start + run.pages - start);
            let there = process.still_there(start..start + pages)?;
            let found: u64 = there.iter().map(|run| run.pages).sum();
            sampled.vanished += pages - found;
            for run in there {
                self.read_pages(process, run, sampled)?;
            }
            progress(pages * self.page);
        }
        Ok(())
    }

    fn read_pages(
        &mut self,
        process: &OpenProcess<'_>,
        run: PageRun,
        sampled: &mut Sampled,
    ) -> Result<(), StopReason> {
        if self.read(process, run)? {
            return self.keep(run.pages, &process.source, sampled);
        }
        // One of the pages has vanished, so they are read one by one.
        for start in run.start..run.start + run.pages {
            if self.read(process, PageRun { start, pages: 1 })? {
                self.keep(1, &process.source, sampled)?;
            } else {
                sampled.vanished += 1;
            }
        }
        Ok(())
    }

    /// Reads pages twice. Returns whether all of them were there.
    fn read(&mut self, process: &OpenProcess<'_>, run: PageRun) -> Result<bool, StopReason> {
        let (len, address) = (to_usize(run.pages * self.page), run.start * self.page);
        let first = process.read(&mut self.first[..len], address)?;
        #[cfg(test)]
        if let Some(between) = &mut self.between {
            between();
        }
        Ok(first && process.read(&mut self.second[..len], address)?)
    }

    fn keep(&mut self, pages: u64, source: &Path, sampled: &mut Sampled) -> Result<(), StopReason> {
        let len = to_usize(pages * self.page);
        let (first, second) = (&self.first[..len], &self.second[..len]);
        if first != second {
            let page = self.page_len();
            let pairs = first.chunks_exact(page).zip(second.chunks_exact(page));
            sampled.changed += pairs.filter(|(first, second)| first != second).count() as u64;
        }
        sampled.pages += pages;
        self.spool.append(second, source).map_err(StopReason::Spool)
    }
}

/// A process that is being read.
struct OpenProcess<'a> {
    memory: File,
    map: Pagemap,
    /// The kind of the pages that are being read.
    kind: PageKind,
    /// The path for error messages.
    source: PathBuf,
    dir: &'a ProcDir,
}

impl OpenProcess<'_> {
    /// Returns the pages that are still stored. Reading others would return zeros that were never
    /// written.
    fn still_there(&mut self, pages: Range<u64>) -> Result<Vec<PageRun>, StopReason> {
        let mut runs: Vec<PageRun> = Vec::new();
        let found = self
            .map
            .entries(self.kind, pages, &mut |page, _| match runs.last_mut() {
                Some(run) if run.start + run.pages == page => run.pages += 1,
                _ => runs.push(PageRun {
                    start: page,
                    pages: 1,
                }),
            });
        match found {
            Ok(()) => Ok(runs),
            Err(source) => Err(StopReason::Process(UnreadReason::of(
                "pagemap", self.dir, source,
            ))),
        }
    }

    /// Fills a buffer. Returns whether all of the memory was there.
    fn read(&self, buffer: &mut [u8], address: u64) -> Result<bool, StopReason> {
        let mut filled = 0;
        while filled < buffer.len() {
            let from = address + filled as u64;
            match self.memory.read_at(&mut buffer[filled..], from) {
                // The process has no memory any more.
                Ok(0) => return Err(StopReason::Process(UnreadReason::empty("mem", self.dir))),
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => {
                    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
                    // The page was unmapped meanwhile, is a guard page, or lies in broken hardware.
                    return match errno {
                        Some(Errno::IO | Errno::FAULT | Errno::HWPOISON) => Ok(false),
                        _ => Err(StopReason::Process(UnreadReason::of(
                            "mem", self.dir, error,
                        ))),
                    };
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_nobody_gets_more_than_it_has() {
        for (pages, sample) in [
            (vec![10, 20, 30], 60),
            (vec![10, 20, 30], 1000),
            (vec![1_000_000, 3, 500, 70_000], 65_536),
            (vec![7; 1000], 100),
            (vec![1, u64::MAX / 4], 1 << 40),
            (vec![1 << 20], 65_536),
            (vec![0, 5, 0], 3),
        ] {
            let parts = allot(&pages, sample);
            let all: u64 = pages.iter().sum();
            assert_eq!(parts.iter().sum::<u64>(), all.min(sample), "{pages:?}");
            assert!(parts.iter().zip(&pages).all(|(part, count)| part <= count));
        }
        assert_eq!(allot(&[], 5), []);
    }

    #[test]
    fn small_processes_get_a_floor_and_large_ones_their_share() {
        let parts = allot(&[1_000_000, 1_000, 100], 65_536);
        assert!(parts[1] >= FLOOR && parts[2] == 100, "{parts:?}");
        let parts = allot(&[3 << 20, 1 << 20], 65_536);
        let share = parts[0] as f64 / parts[1] as f64;
        assert!((share - 3.0).abs() < 0.05, "{parts:?}");
    }

    /// Returns chosen pages of runs.
    fn chosen(runs: &[PageRun], picks: u64, rng: &mut Rng) -> Vec<u64> {
        let mut pages = Vec::new();
        let done = choose(runs, picks, rng, &mut |run| {
            pages.extend(run.start..run.start + run.pages);
            Ok(())
        });
        assert!(done.is_ok());
        pages
    }

    const RUNS: [PageRun; 3] = [
        PageRun {
            start: 5,
            pages: 10,
        },
        PageRun {
            start: 100,
            pages: 1,
        },
        PageRun {
            start: 200,
            pages: 29,
        },
    ];

    #[test]
    fn every_page_is_as_likely_as_any_other() {
        let mut rng = Rng::with_seed(7);
        let mut hits = std::collections::BTreeMap::<u64, u32>::new();
        const ROUNDS: u32 = 4000;
        for _ in 0..ROUNDS {
            let pages = chosen(&RUNS, 10, &mut rng);
            assert_eq!(pages.len(), 10);
            assert!(pages.is_sorted());
            for page in pages {
                *hits.entry(page).or_default() += 1;
            }
        }
        // Each of the 40 is chosen with probability 1/4: 1000 times, with a standard deviation of
        // 27.
        assert_eq!(hits.len(), 40);
        assert!(
            hits.values().all(|hits| hits.abs_diff(ROUNDS / 4) < 5 * 27),
            "{hits:?}"
        );
    }

    #[test]
    fn all_pages_are_chosen_if_there_are_no_more() {
        let mut rng = Rng::with_seed(1);
        let all: Vec<u64> = (5..15).chain([100]).chain(200..229).collect();
        assert_eq!(chosen(&RUNS, 40, &mut rng), all);
        assert_eq!(chosen(&RUNS, 1000, &mut rng), all);
        assert_eq!(chosen(&RUNS, 0, &mut rng), []);
        assert_eq!(chosen(&[], 3, &mut rng), []);
    }
}
