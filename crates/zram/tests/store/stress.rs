//! Eight threads with mixed requests, and all of the store's upkeep beside them: every block is
//! checked.
//!
//! Blocks of the first half belong to one thread each, which knows exactly what they hold. Those of
//! the second half are everybody's: each write fills a block with one stamp, so a read finds one
//! stamp, or zeros.
//!
//! `ZS_LONG=n` lets each test run for n seconds. A failure names its seed; `ZS_SEED=n` takes it
//! again.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zram::*;
use zs_os::AnonBacking;

const THREADS: u64 = 8;
const SHARED: u64 = 24;

/// The most operations of a worker that waits for upkeep.
const MOST: u64 = 200_000;

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|n| n.parse().ok())
}

/// For how many operations, or how long, a worker works.
#[derive(Debug, Clone, Copy)]
enum Work {
    Operations(u64),
    Until(Instant),
}

impl Work {
    fn new() -> Self {
        match number_of("ZS_LONG") {
            Some(seconds) => Self::Until(Instant::now() + Duration::from_secs(seconds)),
            None if std::env::var_os("ZS_SANITIZER").is_some() => Self::Operations(1_000),
            None => Self::Operations(2_000),
        }
    }

    fn goes_on(self, done: u64) -> bool {
        match self {
            Self::Operations(count) => done < count,
            Self::Until(end) => Instant::now() < end,
        }
    }
}

/// The first blocks belong to one thread each.
fn own_blocks(block: usize) -> u64 {
    (512 * 4096 / block).max(64) as u64
}

/// The stamp of a thread: its number from 1 on, and something random.
fn stamp_by(number: u64, random: u64) -> u64 {
    (number + 1) << 56 | random >> 8
}

/// Who has made a stamp; `None` for zeros.
fn stamped_by(stamp: u64) -> Option<u64> {
    (stamp >> 56).checked_sub(1)
}

/// A block of this stamp: same-filled, text-like, or hardly compressible, by its lowest bits.
fn stamped(stamp: u64, block: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(stamp);
    let words = (0..block / 8).map(|index| match stamp % 4 {
        0 => stamp,
        _ if index % 8 == 0 => stamp,
        1 => index as u64 / 16,
        2 => random.u64(0..1000),
        _ => random.u64(..),
    });
    words.flat_map(u64::to_ne_bytes).collect()
}

/// The stamp of a block of everybody's, which must be whole.
fn stamp_of(bytes: &[u8]) -> u64 {
    let stamp = u64::from_ne_bytes(bytes[..8].try_into().expect("8 bytes"));
    let expected = if stamp == 0 {
        vec![0; bytes.len()]
    } else {
        stamped(stamp, bytes.len())
    };
    assert!(bytes == expected, "a torn block of stamp {stamp:#x}");
    stamp
}

struct Worker<'a> {
    store: &'a Store,
    number: u64,
    block: usize,
    random: fastrand::Rng,
    /// What the blocks of its own hold. A part of a block may have been overwritten.
    model: Vec<Vec<u8>>,
    reads_of_others: u64,
}

impl<'a> Worker<'a> {
    fn new(store: &'a Store, number: u64, seed: u64) -> Self {
        let block = store.block_size();
        Self {
            store,
            number,
            block,
            random: fastrand::Rng::with_seed(seed ^ number << 32),
            model: vec![vec![0; block]; (own_blocks(block) / THREADS) as usize],
            reads_of_others: 0,
        }
    }

    fn place(&self, index: usize) -> u64 {
        (index as u64 * THREADS + self.number) * self.block as u64
    }

    fn step(&mut self) {
        let (store, block) = (self.store, self.block);
        let index = self.random.usize(..self.model.len());
        let at = self.place(index);
        let theirs = (own_blocks(block) + self.random.u64(..SHARED)) * block as u64;
        let stamp = stamp_by(self.number, self.random.u64(..));
        let mut out = vec![0xaa; block];
        match self.random.u8(..12) {
            0..=2 => {
                self.model[index] = stamped(stamp, block);
                store.write(at, &self.model[index]).expect("room");
            }
            3 => {
                let start = self.random.usize(..block);
                let len = self.random.usize(..=block - start);
                self.model[index][start..start + len].fill(self.number as u8);
                let part = &self.model[index][start..start + len];
                store.write(at + start as u64, part).expect("room");
            }
            4 => {
                self.model[index].fill(0);
                store.discard(at, block as u64).expect("in range");
            }
            5..=7 => {
                store.read(at, &mut out).expect("readable");
                assert!(out == self.model[index], "a block of its own differs");
            }
            8 => store.write(theirs, &stamped(stamp, block)).expect("room"),
            9 => store.discard(theirs, block as u64).expect("in range"),
            _ => {
                store.read(theirs, &mut out).expect("readable");
                let by = stamped_by(stamp_of(&out));
                self.reads_of_others += u64::from(by.is_some_and(|by| by != self.number));
            }
        }
    }

    fn check_own(&self) {
        let mut out = vec![0xaa; self.block];
        for (index, expected) in self.model.iter().enumerate() {
            self.store
                .read(self.place(index), &mut out)
                .expect("readable");
            assert!(
                out == *expected,
                "block {index} of thread {} differs",
                self.number
            );
        }
    }
}

/// What the upkeep did, so that a run in which it did nothing fails.
#[derive(Default)]
struct Upkeep {
    recompressed: AtomicU64,
    written_back: AtomicU64,
    moved: AtomicU64,
    marked: AtomicU64,
    limits: AtomicU64,
}

impl Upkeep {
    /// Whether each kind of it has met something to do, and requests have met what it did.
    fn was_met(&self, store: &Store) -> bool {
        let counters = [
            &self.recompressed,
            &self.written_back,
            &self.moved,
            &self.marked,
        ];
        let all = counters
            .iter()
            .all(|counter| counter.load(Ordering::Relaxed) > 0);
        all && store.stats().backing_reads > 0
    }
}

const LIMIT: u64 = 128 << 20;

fn upkeep(store: &Store, number: u64, done: &Upkeep) {
    let add = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
    let write_back = |which, max_blocks| {
        let request = WritebackRequest {
            max_blocks,
            ..WritebackRequest::new(which)
        };
        if let Ok(report) = store.writeback(&request) {
            add(&done.written_back, report.blocks);
        }
    };
    match number {
        0 => {
            let report = store.maintain(MaintainBudget::bytes(1 << 20));
            add(&done.moved, report.objects_moved);
            let report = store.compact(CompactBudget::objects(500));
            add(&done.moved, report.objects_moved);
        }
        1 => {
            let wanted = Recompress {
                priority: 1,
                which: BlockFilter::All,
                threshold: 0,
                max_blocks: Some(50),
            };
            if let Ok(report) = store.recompress(&wanted) {
                add(&done.recompressed, report.smaller);
            }
            write_back(BlockFilter::All, 70);
        }
        2 => write_back(BlockFilter::Idle, 40),
        3 => {
            let stats = store.stats();
            assert!(stats.mem_used <= LIMIT && stats.compr_bytes <= LIMIT);
            store.resize(store.size() + 512).expect("below the largest");
            let size = store.size();
            let ranges = store.status(0, size, usize::MAX).expect("in range");
            assert_eq!(ranges.iter().map(|range| range.len).sum::<u64>(), size);
            drop(store.snapshot(std::io::sink()));
            // Above what is stored.
            for limit in [LIMIT / 2, LIMIT] {
                store.set_limit(limit).expect("more than is held");
                assert_eq!(store.limit(), limit);
                add(&done.limits, 1);
            }
        }
        _ => {
            if let Ok(marked) = store.mark_idle(IdleRule::All) {
                add(&done.marked, marked);
            }
            let client = store.attach().expect("no reset");
            assert!(matches!(client.reset(), Err(Error::Busy(_))));
            std::thread::yield_now();
        }
    }
}

fn make(block_size: BlockSize, dedup: bool) -> Store {
    let block = block_size.bytes();
    let mut options = StoreOptions::new((own_blocks(block) + SHARED) * block as u64);
    options.block_size = block_size;
    options.limit = Some(LIMIT);
    options.dedup = dedup;
    options.track_access = block_size == BlockSize::K16;
    let store = Store::<AnonBacking>::new(options).expect("a store");
    store
        .set_secondary(1, "zstd:3".parse().expect("an algorithm"), None)
        .expect("set once");
    let backing = BackingFile::temporary(&std::env::temp_dir(), 8 << 20).expect("a file");
    store.set_backing(backing).expect("the first");
    store
}

fn run(block_size: BlockSize, dedup: bool) {
    let store = make(block_size, dedup);
    let seed = number_of("ZS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let (stop, done, work) = (AtomicBool::new(false), Upkeep::default(), Work::new());
    let reads_of_others = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..5 {
            let (store, stop, done) = (&store, &stop, &done);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    upkeep(store, number, done);
                }
            });
        }
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (store, done, reads_of_others) = (&store, &done, &reads_of_others);
                scope.spawn(move || {
                    let mut worker = Worker::new(store, number, seed);
                    let mut steps = 0;
                    // Longer, if the upkeep had no turn meanwhile; whether it had one is asked in
                    // the end.
                    let waits =
                        |steps| !dedup && steps < MOST && (steps % 64 != 0 || !done.was_met(store));
                    while work.goes_on(steps) || waits(steps) {
                        worker.step();
                        steps += 1;
                    }
                    worker.check_own();
                    reads_of_others.fetch_add(worker.reads_of_others, Ordering::Relaxed);
                })
            })
            .collect();
        let outcomes: Vec<_> = workers
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        stop.store(true, Ordering::Relaxed);
        let good = outcomes.iter().all(Result::is_ok);
        assert!(good, "a worker failed: again with ZS_SEED={seed}");
    });
    assert_eq!(store.validate(), Ok(()), "ZS_SEED={seed}");
    check(&store, dedup, &done, reads_of_others.into_inner());
}

/// Everything met something; and after a reset nothing is left.
fn check(store: &Store, dedup: bool, done: &Upkeep, reads_of_others: u64) {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let stats = store.stats();
    assert!(reads_of_others > 0, "no thread met another");
    assert!(count(&done.limits) > 0, "no limit was set");
    let counts = [&done.recompressed, &done.written_back, &done.marked].map(count);
    if dedup {
        assert_eq!(counts, [0; 3]);
        assert!(stats.shared_blocks > 0);
    } else {
        assert!(
            counts.iter().all(|count| *count > 0),
            "no upkeep: {counts:?}"
        );
        assert!(stats.backing_reads > 0, "nothing was read back: {stats:?}");
    }
    // R2: objects are not leaked; R7: counters are back at 0; R24: memory falls.
    store.reset().expect("nobody is attached");
    let after = store.stats();
    assert_eq!((after.orig_bytes, after.compr_bytes), (0, 0));
    assert_eq!((after.huge_blocks, after.backing_used), (0, 0));
    assert!(after.mem_used < stats.mem_used);
    assert_eq!(store.validate(), Ok(()));
    if count(&done.moved) == 0 {
        // Objects as large as a frame are never moved together.
        assert!(store.block_size() > 4096, "nothing was moved");
    }
}

#[test]
fn r2_r3_r10_r23_eight_threads_and_upkeep() {
    run(BlockSize::K4, false);
}

#[test]
fn eight_threads_on_blocks_of_16k() {
    run(BlockSize::K16, false);
}

#[test]
fn eight_threads_on_blocks_of_64k() {
    run(BlockSize::K64, false);
}

#[test]
fn eight_threads_with_deduplication() {
    run(BlockSize::K4, true);
}
