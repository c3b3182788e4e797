//! A random share of the stored pages freed, the pool compacted.
//!
//! `pages in random order -> the first of them freed -> trimmed -> compacted and trimmed, timed ->
//! handles refused, the rest compared`

use crate::cli::Job;
use crate::estimate::bench::{Bench, BenchError, Stored, check_payload};
use crate::estimate::protocol::{AfterFree, Metadata};
use crate::pool::Pool;
use crate::units::Share;
use std::time::{Duration, Instant};
use zs_pages::{DataPages, same_filled};
use zsmalloc::{CompactBudget, CompactReport, Handle};

/// The order in which pages leave the pool, and how many of them do.
///
/// All memory that is needed until the last reading is allocated and written to when it is made.
pub(super) struct Leaving {
    order: Vec<usize>,
    share: Share,
    seed: u64,
}

impl Leaving {
    /// Returns the pages that are to be stored, shuffled, if the job is to free some.
    pub(super) fn new(job: &Job, pages: DataPages<'_>) -> Option<Self> {
        let share = job.free?;
        let stored = pages
            .iter()
            .enumerate()
            .filter(|(_, page)| same_filled(page).is_none());
        let mut order: Vec<usize> = stored.map(|(index, _)| index).collect();
        fastrand::Rng::with_seed(job.seed).shuffle(&mut order);
        pages.forget(0..pages.len());
        Some(Self {
            order,
            share,
            seed: job.seed,
        })
    }

    /// Frees the share of what was stored, in random order, then compacts the pool as far as that
    /// goes.
    pub(super) fn leave(
        mut self,
        pool: &Pool,
        handles: &[Handle],
        stored: &Stored,
    ) -> Result<Left, BenchError> {
        // Without those that the limit kept out, the order is as random as before.
        self.order.retain(|&page| page < stored.pages);
        self.order.truncate(self.share.of(self.order.len()));
        let mut payload = stored.payload_bytes;
        for &page in &self.order {
            payload -= pool.read(handles[page])?.len() as u64;
            pool.free(handles[page])?;
        }
        check_payload(pool, payload)?;
        self.order.sort_unstable();
        // What the frees alone give back is no merit of the compaction.
        pool.trim();
        let held_before_compact = pool.arena().stats().held;
        let start = Instant::now();
        let report = pool.compact(CompactBudget::UNLIMITED);
        pool.trim();
        Ok(Left {
            pages: self.order,
            share: self.share,
            seed: self.seed,
            held_before_compact,
            time: start.elapsed(),
            report,
        })
    }
}

/// The pages that have left, in ascending order, and what the compaction did.
pub(super) struct Left {
    pages: Vec<usize>,
    share: Share,
    seed: u64,
    held_before_compact: u64,
    time: Duration,
    report: CompactReport,
}

impl Left {
    /// Returns what the pool holds now, and how it came to that.
    pub(super) fn report(&self, pool: &Pool, rss_bytes: u64) -> AfterFree {
        let stats = pool.stats();
        AfterFree {
            share_percent: self.share,
            seed: self.seed,
            objects_freed: self.pages.len() as u64,
            objects: stats.objects,
            payload_bytes: stats.payload_bytes,
            held_before_compact_bytes: self.held_before_compact,
            held_bytes: pool.arena().stats().held,
            rss_bytes,
            compact_ms: self.time.as_micros() as f64 / 1e3,
            objects_moved: self.report.objects_moved,
            bytes_moved: self.report.bytes_moved,
            frames_freed: self.report.frames_freed,
            frames_attached: self.report.frames_attached,
            frames: stats.frames,
            frame_bytes: stats.frame_bytes,
            metadata_bytes: Metadata::of(pool),
        }
    }

    /// Checks that the handles of the pages that left are refused, and that all other pages are
    /// what they were.
    pub(super) fn check(
        &self,
        pool: &Pool,
        handles: &[Handle],
        bench: &mut Bench<'_>,
        watch: &mut dyn FnMut(usize),
    ) -> Result<(), BenchError> {
        for &page in &self.pages {
            match pool.read(handles[page]) {
                Err(zsmalloc::Error::Stale) => (),
                Err(error) => return Err(error.into()),
                Ok(_) => return Err(BenchError::NotStale(page)),
            }
        }
        bench.load(pool, handles, &self.pages, watch)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::bench::tests::{pages, stand_ins};
    use crate::estimate::child::make_pool;
    use crate::units::parse_share;
    use zcomp::Algorithm;
    use zs_mm::PageSize;

    fn job(free: &str, seed: u64) -> Job {
        Job {
            codec: Algorithm::Lz4,
            page_size: PageSize::K4,
            limit: 8 << 20,
            free: Some(parse_share(free).unwrap()),
            compare: false,
            seed,
            parts: Vec::new(),
        }
    }

    #[test]
    fn the_order_is_that_of_the_seed_and_leaves_out_what_is_not_stored() {
        let pages = pages(50);
        let order = |seed| Leaving::new(&job("50%", seed), pages.data()).unwrap().order;
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(1);
        sorted.sort_unstable();
        // Page 0 is one of zeros.
        assert_eq!(sorted, Vec::from_iter(1..50));
        let nothing = Job {
            free: None,
            ..job("50%", 1)
        };
        assert!(Leaving::new(&nothing, pages.data()).is_none());
    }

    #[test]
    fn only_what_was_stored_leaves() {
        let pages = pages(200);
        let job = job("50%", 3);
        let pool = make_pool(PageSize::K4, job.limit).unwrap();
        let mut bench = Bench::new(job.codec, pages.data(), &[]).unwrap();
        let mut handles = stand_ins(&pool, 200);
        // As if the limit had kept the second half out.
        let handles = &mut handles[..100];
        let stored = bench.store(&pool, handles, &mut |_| ()).unwrap();
        let leaving = Leaving::new(&job, pages.data()).unwrap();
        let left = leaving.leave(&pool, handles, &stored).unwrap();
        assert_eq!(left.pages.len(), 50);
        assert!(left.pages.is_sorted());
        assert!(left.pages.iter().all(|&page| (1..100).contains(&page)));
        let after = left.report(&pool, 0);
        // The stand-in is an object more.
        assert_eq!((after.objects_freed, after.objects), (50, 50));
        left.check(&pool, handles, &mut bench, &mut |_| ()).unwrap();
    }

    #[test]
    fn a_freed_page_that_can_still_be_read_is_noticed() {
        let pages = pages(100);
        let job = job("25%", 1);
        let pool = make_pool(PageSize::K4, job.limit).unwrap();
        let mut bench = Bench::new(job.codec, pages.data(), &[]).unwrap();
        let mut handles = stand_ins(&pool, 100);
        let stored = bench.store(&pool, &mut handles, &mut |_| ()).unwrap();
        let leaving = Leaving::new(&job, pages.data()).unwrap();
        let left = leaving.leave(&pool, &handles, &stored).unwrap();
        let page = left.pages[3];
        handles[page] = pool.insert(b"revenant").unwrap();
        let error = left.check(&pool, &handles, &mut bench, &mut |_| ());
        assert!(
            matches!(error, Err(BenchError::NotStale(at)) if at == page),
            "{error:?}"
        );
    }
}
