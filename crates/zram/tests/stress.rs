//! Eight threads with mixed requests, and all of the store's upkeep beside them: every block is checked.
//!
//! Blocks of the first half belong to one thread each, which knows exactly what they hold. Those of the second half
//! are everybody's: each write fills a block with one stamp, so a read finds one stamp, or zeros.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zram::*;
use zs_os::AnonBacking;

const THREADS: u64 = 8;
const OWN: u64 = 512;
const SHARED: u64 = 24;
const BLOCK: usize = 4096;

/// How many times as long a run may take for want of upkeep.
const MOST: u64 = 100;

fn operations() -> u64 {
    let long: u64 = std::env::var("ZS_LONG")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    match std::env::var_os("ZS_SANITIZER") {
        Some(_) => 1_000,
        None => 2_000 * long,
    }
}

/// A block of this stamp: same-filled, text-like, or hardly compressible, by its lowest bits.
fn stamped(stamp: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(stamp);
    let words = (0..BLOCK / 8).map(|index| match stamp % 4 {
        0 => stamp,
        1 if index % 8 == 0 => stamp,
        1 => index as u64 / 16,
        2 if index % 8 == 0 => stamp,
        _ if index % 8 == 0 => stamp,
        2 => random.u64(0..1000),
        _ => random.u64(..),
    });
    words.flat_map(u64::to_ne_bytes).collect()
}

/// The stamp of a block of everybody's, which must be whole.
fn stamp_of(bytes: &[u8]) -> u64 {
    let stamp = u64::from_ne_bytes(bytes[..8].try_into().expect("8 bytes"));
    let expected = if stamp == 0 {
        vec![0; BLOCK]
    } else {
        stamped(stamp)
    };
    assert!(bytes == expected, "a torn block of stamp {stamp:#x}");
    stamp
}

struct Worker<'a> {
    store: &'a Store,
    number: u64,
    random: fastrand::Rng,
    /// What the blocks of its own hold, by their stamps; 0 is a hole. A part of a block may have been overwritten.
    model: Vec<Vec<u8>>,
    reads_of_others: u64,
}

impl Worker<'_> {
    fn own(&mut self) -> (usize, u64) {
        let index = self.random.usize(..(OWN / THREADS) as usize);
        (index, (index as u64 * THREADS + self.number) * BLOCK as u64)
    }

    fn step(&mut self) {
        let (index, at) = self.own();
        let theirs = (OWN + self.random.u64(..SHARED)) * BLOCK as u64;
        let stamp = self.random.u64(1..) & !(0xff << 56) | self.number << 50;
        let mut out = vec![0xaa; BLOCK];
        match self.random.u8(..12) {
            0..=2 => {
                self.model[index] = stamped(stamp);
                self.store.write(at, &self.model[index]).expect("room");
            }
            3 => {
                let start = self.random.usize(..BLOCK);
                let len = self.random.usize(..=BLOCK - start);
                self.model[index][start..start + len].fill(self.number as u8);
                let part = &self.model[index][start..start + len];
                self.store.write(at + start as u64, part).expect("room");
            }
            4 => {
                self.model[index].fill(0);
                self.store.discard(at, BLOCK as u64).expect("in range");
            }
            5..=7 => {
                self.store.read(at, &mut out).expect("readable");
                assert!(out == self.model[index], "a block of its own differs");
            }
            8 => self.store.write(theirs, &stamped(stamp)).expect("room"),
            9 => self.store.discard(theirs, BLOCK as u64).expect("in range"),
            _ => {
                self.store.read(theirs, &mut out).expect("readable");
                let by = stamp_of(&out) >> 50;
                self.reads_of_others += u64::from(by != self.number);
            }
        }
    }

    fn check_own(&self) {
        let mut out = vec![0xaa; BLOCK];
        for (index, expected) in self.model.iter().enumerate() {
            let at = (index as u64 * THREADS + self.number) * BLOCK as u64;
            self.store.read(at, &mut out).expect("readable");
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

fn upkeep(store: &Store, number: u64, done: &Upkeep) {
    let add = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
    match number {
        0 => {
            let report = store.maintain(MaintainBudget::bytes(1 << 20));
            add(&done.moved, report.objects_moved);
            add(
                &done.moved,
                store.compact(CompactBudget::objects(500)).objects_moved,
            );
        }
        1 => {
            let wanted = Recompress {
                priority: 1,
                which: Which::All,
                threshold: 0,
                max_blocks: Some(50),
            };
            if let Ok(report) = store.recompress(&wanted) {
                add(&done.recompressed, report.smaller);
            }
            let request = WritebackRequest {
                max_blocks: 70,
                ..WritebackRequest::new(Which::All)
            };
            if let Ok(report) = store.writeback(&request) {
                add(&done.written_back, report.blocks);
            }
        }
        2 => {
            let request = WritebackRequest {
                max_blocks: 40,
                ..WritebackRequest::new(Which::Idle)
            };
            if let Ok(report) = store.writeback(&request) {
                add(&done.written_back, report.blocks);
            }
        }
        3 => {
            let stats = store.stats();
            assert!(stats.mem_used <= stats.mem_limit && stats.compr_bytes <= stats.mem_limit);
            store.resize(store.size() + 512).expect("below the largest");
            let size = store.size();
            let ranges = store.status(0, size, usize::MAX).expect("in range");
            assert_eq!(ranges.iter().map(|range| range.len).sum::<u64>(), size);
            drop(store.snapshot(std::io::sink()));
        }
        _ => {
            add(&done.marked, store.mark_idle(IdleRule::All).expect("marks"));
            std::thread::yield_now();
        }
    }
}

fn run(dedup: bool) {
    let mut options = StoreOptions::new((OWN + SHARED) * BLOCK as u64);
    options.limit = Some(64 << 20);
    options.dedup = dedup;
    let store = Store::<AnonBacking>::new(options).expect("a store");
    store
        .set_secondary(1, "zstd:3".parse().expect("an algorithm"), None)
        .expect("set once");
    let backing = BackingFile::temporary(&std::env::temp_dir(), 8 << 20).expect("a file");
    store.set_backing(backing).expect("the first");
    let (stop, done) = (AtomicBool::new(false), Upkeep::default());
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
                    let model = vec![vec![0; BLOCK]; (OWN / THREADS) as usize];
                    let random = fastrand::Rng::with_seed(number);
                    let mut worker = Worker {
                        store,
                        number,
                        random,
                        model,
                        reads_of_others: 0,
                    };
                    // Longer, if the upkeep had no turn meanwhile; whether it had one is asked in the end.
                    for step in 0..MOST * operations() {
                        if step >= operations() && (dedup || step % 64 == 0 && done.was_met(store))
                        {
                            break;
                        }
                        worker.step();
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
        assert!(outcomes.iter().all(Result::is_ok), "a worker failed");
    });
    assert_eq!(store.validate(), Ok(()));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert!(count(&reads_of_others) > 0, "no thread met another");
    assert!(count(&done.moved) > 0, "nothing was moved");
    if !dedup {
        let counts = [&done.recompressed, &done.written_back, &done.marked].map(count);
        assert!(
            counts.iter().all(|count| *count > 0),
            "no upkeep: {counts:?}"
        );
        let stats = store.stats();
        assert!(
            stats.backing_reads > 0,
            "nothing was read back: {counts:?} {stats:?}"
        );
    }
    // R2: objects are not leaked; R7: counters are back at 0; R24: memory falls.
    let held = store.stats().mem_used;
    store.reset().expect("nobody is attached");
    let stats = store.stats();
    assert_eq!(
        (
            stats.orig_bytes,
            stats.compr_bytes,
            stats.huge_blocks,
            stats.backing_used
        ),
        (0, 0, 0, 0)
    );
    assert!(stats.mem_used < held);
    assert_eq!(store.validate(), Ok(()));
}

#[test]
fn r2_r3_r10_r23_eight_threads_and_upkeep() {
    run(false);
}

#[test]
fn eight_threads_with_deduplication() {
    run(true);
}
