//! Pages through codec and pool, in and out, timed.

use crate::estimate::per_process::PerProcess;
use crate::pool::Pool;
use crate::units::Size;
use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};
use zcomp::{Algorithm, Compressed, Stream};
use zs_mm::PageSize;
use zs_os::{ResidentError, os_page_size};
use zs_pages::{DataPages, same_filled};
use zsmalloc::Handle;

/// Pages between two looks at the clock, whose cost is lost among them.
const BATCH: usize = 64;

/// What can go wrong in the child.
#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    #[error("{0}")]
    Codec(#[from] zcomp::Error),
    #[error(
        "no pool with a limit of {} can be made: the system refused the address space, try a lower --limit",
        Size(*.0)
    )]
    NoPool(u64),
    #[error("{0}")]
    Arena(#[from] zs_mm::Error),
    #[error("{0}")]
    Pool(#[from] zsmalloc::Error),
    #[error("{0}")]
    Resident(#[from] ResidentError),
    #[error("page {0} came back from the pool with other bytes than it was stored with")]
    Differs(usize),
    #[error("page {0} was freed, but its handle still leads to an object")]
    NotStale(usize),
    #[error("the pool counts {pool} bytes in its objects, but {stored} were stored")]
    Payload { pool: u64, stored: u64 },
    #[error("the system has no more memory: {} are held, the limit is {}", Size(*.held), Size(*.limit))]
    NoMemory { held: u64, limit: u64 },
}

/// What became of the pages.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Pages that were stored or same-filled.
    pub(super) pages: usize,
    pub(super) same_filled: u64,
    pub(super) zero: u64,
    pub(super) stored: u64,
    pub(super) raw: u64,
    pub(super) payload_bytes: u64,
    pub(super) limit_reached: bool,
    time: Duration,
}

impl Stored {
    /// Mean time of a page that was stored.
    pub(super) fn mean_ns(&self) -> Option<f64> {
        mean_ns(self.time, self.stored)
    }
}

fn mean_ns(time: Duration, pages: u64) -> Option<f64> {
    // Tenths are more than the clock is good for.
    let tenths = || (time.as_nanos() as f64 * 10.0 / pages as f64).round();
    (pages > 0).then(|| tenths() / 10.0)
}

/// One codec, the pages, and buffers that are written to before anything is measured.
pub(super) struct Bench<'a> {
    source: DataPages<'a>,
    stream: Stream,
    /// Room for the compressed form of any page, so that its true length is found out.
    packed: Vec<u8>,
    /// A batch of pages, read back.
    unpacked: Vec<u8>,
    /// The pages of a batch that are to be stored, or were.
    batch: Vec<usize>,
    pub(super) parts: PerProcess,
}

impl<'a> Bench<'a> {
    /// `parts`: pages of each process, if they are processes'.
    pub(super) fn new(
        algorithm: Algorithm,
        source: DataPages<'a>,
        parts: &[u64],
    ) -> Result<Self, BenchError> {
        let page = source.page_size().bytes();
        Ok(Self {
            source,
            stream: Stream::new(algorithm, page)?,
            packed: vec![0xff; algorithm.max_compressed_len(page)],
            unpacked: vec![0xff; BATCH * page],
            batch: vec![0; BATCH],
            parts: PerProcess::new(parts),
        })
    }

    /// Stores the first pages, as many as there are handles for; stops when the limit is reached.
    pub(super) fn store(
        &mut self,
        pool: &Pool,
        handles: &mut [Handle],
        watch: &mut dyn FnMut(usize),
    ) -> Result<Stored, BenchError> {
        let mut stored = Stored::default();
        while stored.pages < handles.len() && !stored.limit_reached {
            let window = stored.pages..handles.len().min(stored.pages + BATCH);
            self.prepare(window.clone());
            let end = self.store_batch(pool, handles, &mut stored)?;
            let window = window.start..end.unwrap_or(window.end);
            stored.limit_reached = end.is_some();
            stored.pages = window.end;
            self.count_same_filled(window.clone(), &mut stored);
            self.source.forget(window);
            watch(stored.pages);
        }
        check_payload(pool, stored.payload_bytes)?;
        Ok(stored)
    }

    /// Loads all pages that were stored, but for those `freed` (in ascending order), and compares
    /// them; returns the mean time of a page.
    pub(super) fn load(
        &mut self,
        pool: &Pool,
        handles: &[Handle],
        freed: &[usize],
        watch: &mut dyn FnMut(usize),
    ) -> Result<Option<f64>, BenchError> {
        let (mut time, mut loaded) = (Duration::ZERO, 0);
        for start in (0..handles.len()).step_by(BATCH) {
            self.prepare(start..handles.len().min(start + BATCH));
            self.batch.retain(|page| freed.binary_search(page).is_err());
            if !self.batch.is_empty() {
                time += self.load_batch(pool, handles)?;
                loaded += self.batch.len() as u64;
            }
            self.source.forget(start..start + BATCH);
            watch(start + BATCH);
        }
        Ok(mean_ns(time, loaded))
    }

    /// Finds the pages of a window that are to be stored, and has the system map them all, so that
    /// no page fault of the source is timed.
    fn prepare(&mut self, window: Range<usize>) {
        self.batch.clear();
        for index in window {
            let Some(page) = self.source.get(index) else {
                break;
            };
            let touched = page.iter().step_by(os_page_size());
            black_box(touched.fold(0, |all, byte| all ^ byte));
            if same_filled(page).is_none() {
                self.batch.push(index);
            }
        }
    }

    fn count_same_filled(&mut self, window: Range<usize>, stored: &mut Stored) {
        for index in window {
            let Some(word) = self.source.get(index).and_then(same_filled) else {
                continue;
            };
            stored.same_filled += 1;
            stored.zero += u64::from(word == 0);
            self.parts.count_same_filled(index, word == 0);
        }
    }

    /// Stores a batch; returns the page that did not fit, if one did not.
    fn store_batch(
        &mut self,
        pool: &Pool,
        handles: &mut [Handle],
        stored: &mut Stored,
    ) -> Result<Option<usize>, BenchError> {
        let page_len = self.source.page_size().bytes();
        let start = Instant::now();
        let mut end = None;
        for &index in &self.batch {
            let Some(page) = self.source.get(index) else {
                break;
            };
            // Already known, but a store has to find it out, so it is timed.
            if same_filled(page).is_some() {
                continue;
            }
            let bytes = match self.stream.compress(page, &mut self.packed)? {
                Compressed::Fits(len) if len < page_len => &self.packed[..len],
                _ => page,
            };
            handles[index] = match pool.insert(bytes) {
                Ok(handle) => handle,
                Err(zsmalloc::Error::NoMemory) => {
                    end = Some(index);
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            stored.stored += 1;
            stored.raw += u64::from(bytes.len() == page_len);
            stored.payload_bytes += bytes.len() as u64;
            self.parts.count_stored(index, bytes.len());
        }
        stored.time += start.elapsed();
        if end.is_some() {
            check_limit(pool)?;
        }
        Ok(end)
    }

    /// Loads a batch, then compares it; returns the time of the loads.
    fn load_batch(&mut self, pool: &Pool, handles: &[Handle]) -> Result<Duration, BenchError> {
        let page_len = self.source.page_size().bytes();
        let start = Instant::now();
        for (&index, place) in self
            .batch
            .iter()
            .zip(self.unpacked.chunks_exact_mut(page_len))
        {
            let object = pool.read(handles[index])?;
            if object.len() == page_len {
                object.copy_to(place)?;
            } else {
                let bytes = object.contiguous(&mut self.packed)?;
                self.stream.decompress(bytes, place)?;
            }
        }
        let time = start.elapsed();
        for (&index, page) in self.batch.iter().zip(self.unpacked.chunks_exact(page_len)) {
            if self.source.get(index) != Some(page) {
                return Err(BenchError::Differs(index));
            }
        }
        Ok(time)
    }
}

/// Compares what the pool counts with the bytes of the objects that it was given.
pub(super) fn check_payload(pool: &Pool, stored: u64) -> Result<(), BenchError> {
    let pool = pool.stats().payload_bytes;
    // The warm-up's pool has an object more, which is a byte.
    if pool.abs_diff(stored) > 1 {
        return Err(BenchError::Payload { pool, stored });
    }
    Ok(())
}

/// Tells a limit that is reached from a system that has no more memory.
fn check_limit(pool: &Pool) -> Result<(), BenchError> {
    pool.trim();
    let stats = pool.arena().stats();
    let (held, limit) = (stats.held, stats.limit);
    if is_reached(held, limit, pool.geometry().page_size()) {
        return Ok(());
    }
    Err(BenchError::NoMemory { held, limit })
}

/// Says whether what is left of a limit may be too little for an insert: it takes a frame at most,
/// and grows a few tables by a page of the system each.
fn is_reached(held: u64, limit: u64, page: PageSize) -> bool {
    let insert = page.bytes() + 8 * os_page_size();
    held + insert as u64 >= limit
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::estimate::child::make_pool;
    use std::io::Write as _;
    use zs_pages::{Collector, MappedPages};

    /// Returns the pages with different bytes each, and one of zeros.
    pub(in crate::estimate) fn pages(count: usize) -> MappedPages {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for index in 0..count {
            let page: Vec<u8> = (0..4096).map(|at| (at * index / 7) as u8).collect();
            file.write_all(&page).unwrap();
        }
        let mut collector = Collector::new(PageSize::K4).unwrap();
        collector.add_file(file.path(), &mut |_| ()).unwrap();
        collector.finish().unwrap().0.map().unwrap()
    }

    pub(in crate::estimate) fn stand_ins(pool: &Pool, count: usize) -> Vec<Handle> {
        vec![pool.insert(b"x").unwrap(); count]
    }

    #[test]
    fn what_is_stored_is_loaded_and_compared() {
        let pages = pages(200);
        let pool = make_pool(PageSize::K4, 8 << 20).unwrap();
        let mut bench = Bench::new(Algorithm::Lz4, pages.data(), &[]).unwrap();
        let mut handles = stand_ins(&pool, 200);
        let mut seen = Vec::new();
        let stored = bench
            .store(&pool, &mut handles, &mut |page| seen.push(page))
            .unwrap();
        assert_eq!((stored.pages, stored.stored, stored.zero), (200, 199, 1));
        assert_eq!(seen, [64, 128, 192, 200]);
        let time = bench.load(&pool, &handles, &[], &mut |_| ()).unwrap();
        assert!(time > Some(0.0));
        handles.swap(70, 71);
        let error = bench.load(&pool, &handles, &[], &mut |_| ()).unwrap_err();
        assert!(matches!(error, BenchError::Differs(70)), "{error}");
        let error = bench
            .load(&pool, &handles, &[69, 70], &mut |_| ())
            .unwrap_err();
        assert!(matches!(error, BenchError::Differs(71)), "{error}");
        bench.load(&pool, &handles, &[70, 71], &mut |_| ()).unwrap();
    }

    #[test]
    fn a_pool_that_counts_other_bytes_is_noticed() {
        let pages = pages(3);
        let pool = make_pool(PageSize::K4, 8 << 20).unwrap();
        let mut handles = stand_ins(&pool, 3);
        pool.insert(b"stranger").unwrap();
        let mut bench = Bench::new(Algorithm::Lz4, pages.data(), &[]).unwrap();
        let error = bench.store(&pool, &mut handles, &mut |_| ()).unwrap_err();
        assert!(matches!(error, BenchError::Payload { .. }), "{error}");
    }

    #[test]
    fn a_limit_far_away_is_not_what_refused_an_insert() {
        let page = PageSize::K4;
        assert!(is_reached(2 << 20, 2 << 20, page));
        assert!(is_reached((2 << 20) - 4096, 2 << 20, page));
        assert!(!is_reached(2 << 20, 4 << 20, page));
    }
}
