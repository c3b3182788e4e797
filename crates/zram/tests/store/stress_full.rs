//! Threads on a disk whose limit moves about what it holds, with a backing that is full and loses
//! what it was given; every block against a model. In the end every counter is at 0.
//!
//! `ZS_SEED=n` takes a seed again that a failure names.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::Fill;
use crate::common::file::{FILE, TestFile};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zram::*;
use zs_os::testing::HeapBacking;

const THREADS: u64 = 4;
const STEPS: u32 = 1500;
const MOST_STEPS: u32 = 10 * STEPS;
/// Each thread has so many pieces of the table, of 512 blocks.
const PIECES: u64 = 2;
const LIMITS: [u64; 3] = [5 << 19, 3 << 20, 4 << 20];

/// What was met, so that a run in which nothing was fails.
#[derive(Debug, Default)]
struct Met {
    full: AtomicU64,
    /// Zeroes and discards that found no memory at all.
    refused: AtomicU64,
    rounded: AtomicU64,
    limits: AtomicU64,
    backed: AtomicU64,
    backing_full: AtomicU64,
    late: AtomicU64,
}

impl Met {
    fn all(&self) -> bool {
        let counters = [
            &self.full,
            &self.limits,
            &self.backed,
            &self.backing_full,
            &self.late,
        ];
        counters
            .iter()
            .all(|counter| counter.load(Ordering::Relaxed) > 0)
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

struct Worker<'a> {
    store: &'a Store<HeapBacking>,
    met: &'a Met,
    start: u64,
    random: fastrand::Rng,
    model: Vec<u8>,
}

impl Worker<'_> {
    /// A place of any size, mostly a block.
    fn place(&mut self) -> (usize, usize) {
        let block = self.store.block_size();
        // The first blocks are met often.
        let near = [16, self.model.len() / block][self.random.usize(..2)];
        let at = self.random.usize(..near) * block;
        match self.random.u8(..4) {
            0 => {
                let start = at + self.random.usize(..block);
                (
                    start,
                    self.random.usize(1..=self.model.len() - start).min(block),
                )
            }
            _ => (at, block),
        }
    }

    /// Writes to every block once: more than all of them have room for.
    fn fill(&mut self) {
        let block = self.store.block_size();
        for at in (0..self.model.len()).step_by(block) {
            let new = Fill::Random(self.random.u64(..)).bytes(block);
            self.write(at, &new);
        }
    }

    fn step(&mut self) {
        let (at, len) = self.place();
        let offset = self.start + at as u64;
        match self.random.u8(..12) {
            0..=5 => {
                let seed = self.random.u64(..);
                let new = if seed.is_multiple_of(4) {
                    Fill::Text(seed)
                } else {
                    Fill::Random(seed)
                };
                self.write(at, &new.bytes(len));
            }
            6 => {
                let zeroes = [Zeroes::Hole, Zeroes::Allocated][self.random.usize(..2)];
                match self.store.write_zeroes(offset, len as u64, zeroes) {
                    Ok(()) => self.model[at..at + len].fill(0),
                    Err(Error::NoMemory) => {
                        add(&self.met.refused, 1);
                        self.reread(at, len);
                    }
                    Err(error) => unreachable!("{error}"),
                }
            }
            7 => self.discard(at, len),
            8 if self.random.u8(..50) == 0 => self.discard(0, self.model.len()),
            _ => self.check(at, len),
        }
    }

    fn write(&mut self, at: usize, new: &[u8]) {
        match self.store.write(self.start + at as u64, new) {
            Ok(()) => self.model[at..at + new.len()].copy_from_slice(new),
            Err(Error::NoMemory) => {
                add(&self.met.full, 1);
                // Of two blocks that it touches the first may be new.
                let mut out = vec![0xaa; new.len()];
                self.read(at, &mut out);
                let first = new
                    .len()
                    .min(self.store.block_size() - at % self.store.block_size());
                let old = &self.model[at..at + new.len()];
                assert!(out[first..] == old[first..]);
                assert!(out[..first] == old[..first] || out[..first] == new[..first]);
                self.model[at..at + new.len()].copy_from_slice(&out);
            }
            Err(error) => unreachable!("{error}"),
        }
    }

    fn discard(&mut self, at: usize, len: usize) {
        let discarded = self.store.discard(self.start + at as u64, len as u64);
        discarded.expect("no memory is needed");
        self.reread(at, len);
    }

    /// Each byte is as it was, or zero.
    fn reread(&mut self, at: usize, len: usize) {
        let mut out = vec![0xaa; len];
        self.read(at, &mut out);
        let old = &mut self.model[at..at + len];
        assert!(
            out.iter()
                .zip(&*old)
                .all(|(new, old)| *new == 0 || new == old)
        );
        if out.iter().any(|byte| *byte != 0) {
            add(&self.met.rounded, 1);
        }
        old.copy_from_slice(&out);
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        self.store
            .read(self.start + at as u64, out)
            .expect("readable");
    }

    fn check(&self, at: usize, len: usize) {
        let mut out = vec![0xaa; len];
        self.read(at, &mut out);
        assert!(
            out == self.model[at..at + len],
            "{len} bytes at {at} differ"
        );
    }
}

fn upkeep(store: &Store<HeapBacking>, met: &Met, number: u64, round: usize) {
    match number {
        0 => {
            let report = store
                .writeback(&WritebackRequest::new(BlockFilter::All))
                .expect("alone");
            add(&met.backed, report.blocks);
            add(
                &met.backing_full,
                u64::from(report.end == WritebackEnd::Full),
            );
            add(&met.late, u64::from(report.end == WritebackEnd::Failed));
        }
        1 => {
            let wanted = Recompress {
                priority: 1,
                which: BlockFilter::All,
                threshold: 0,
                max_blocks: Some(20),
            };
            store.recompress(&wanted).expect("alone");
            store.compact(CompactBudget::objects(100));
        }
        _ => {
            if store.set_limit(LIMITS[round % LIMITS.len()]).is_ok() {
                add(&met.limits, 1);
            }
            store.trim();
        }
    }
    std::thread::yield_now();
}

/// Bytes of one thread.
fn part(block_size: BlockSize) -> u64 {
    PIECES * 512 * block_size.bytes() as u64
}

/// A store whose backing loses what it was given at each third sync.
fn make(block_size: BlockSize) -> Store<HeapBacking> {
    let mut options = StoreOptions::new(THREADS * part(block_size));
    options.max_size = Some(options.size);
    options.block_size = block_size;
    options.limit = Some(LIMITS[2]);
    let store =
        Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options).expect("a store");
    let zstd = "zstd:1".parse().expect("an algorithm");
    store.set_secondary(1, zstd, None).expect("set once");
    let file = TestFile::new();
    file.lose_unsynced(true);
    file.bad_every(3);
    store
        .set_backing(BackingFile::new(file, FILE))
        .expect("the first");
    store
}

fn run(block_size: BlockSize) {
    let (store, part) = (make(block_size), part(block_size));
    let empty = store.stats().mem_used;
    let seed = std::env::var("ZS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let (met, stop) = (Met::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (store, met, stop) = (&store, &met, &stop);
            scope.spawn(move || {
                let rounds = (0..).take_while(|_| !stop.load(Ordering::Relaxed));
                rounds.for_each(|round| upkeep(store, met, number, round));
            });
        }
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let mut worker = Worker {
                    store: &store,
                    met: &met,
                    start: number * part,
                    random: fastrand::Rng::with_seed(seed ^ number << 32),
                    model: vec![0; part as usize],
                };
                scope.spawn(move || {
                    worker.fill();
                    let mut steps = 0;
                    // Longer, if the upkeep had no turn meanwhile; whether it had one is asked in
                    // the end.
                    while steps < STEPS || steps < MOST_STEPS && !worker.met.all() {
                        worker.step();
                        steps += 1;
                    }
                    worker.check(0, worker.model.len());
                })
            })
            .collect();
        let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(
            outcomes.iter().all(Result::is_ok),
            "again with ZS_SEED={seed}"
        );
    });
    assert_eq!(store.validate(), Ok(()), "ZS_SEED={seed}");
    assert!(met.all(), "ZS_SEED={seed}: {met:?}");
    check_empty(&store, empty);
}

/// Everything goes, and every counter with it.
fn check_empty(store: &Store<HeapBacking>, empty: u64) {
    store.discard(0, store.size()).expect("no memory is needed");
    store.trim();
    let stats = store.stats();
    assert_eq!(
        (stats.orig_bytes, stats.compr_bytes, stats.same_blocks),
        (0, 0, 0)
    );
    assert_eq!(
        (stats.huge_blocks, stats.backing_blocks, stats.backing_used),
        (0, 0, 0)
    );
    assert_eq!(stats.failed_reads, 0);
    assert!(
        stats.mem_used <= empty + (256 << 10),
        "{} of {empty}",
        stats.mem_used
    );
    assert_eq!(store.validate(), Ok(()));
}

#[test]
fn threads_on_a_full_disk_with_blocks_of_4k() {
    run(BlockSize::K4);
}

#[test]
fn threads_on_a_full_disk_with_blocks_of_16k() {
    run(BlockSize::K16);
}
