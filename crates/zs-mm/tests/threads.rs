//! Several threads on one arena: no frame is ever owned twice.

#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

mod common;

use common::{Random, alloc_up_to, check, check_stamp, effort, free_all, stamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use zs_mm::{Arena, ArenaOptions, Backing, Error, Frame, PageSize, ZoneSpecs};
use zs_os::testing::{FaultBacking, HeapBacking};
use zs_os::{AnonBacking, HOST, MemfdBacking};

const THREADS: u64 = 4;

struct Shared<B: Backing> {
    arena: Arena<FaultBacking<B>>,
    /// The thread that owns each frame, from 1; 0 for none.
    owners: Vec<AtomicU32>,
}

/// What a thread writes into a frame.
fn mark(me: u64, frame: &Frame) -> u64 {
    me << 32 | u64::from(frame.id().0)
}

impl<B: Backing> Shared<B> {
    fn new(backing: B, options: ArenaOptions) -> Arc<Self> {
        let frames = options.limit as usize / options.page_size.bytes() + 1024;
        Arc::new(Self {
            arena: common::arena(backing, &HOST, options),
            owners: (0..frames).map(|_| AtomicU32::new(0)).collect(),
        })
    }

    /// Takes a frame, unless the limit is reached for the moment.
    fn take(&self, me: u64) -> Option<Frame> {
        let frame = match self.arena.alloc_frame() {
            Ok(frame) => frame,
            Err(Error::NoMemory) => return None,
            Err(error) => panic!("{error}"),
        };
        // Relaxed, so that the arena alone orders the accesses to the frame's bytes.
        let before = self.owners[frame.id().index()].swap(me as u32, Ordering::Relaxed);
        assert_eq!(before, 0, "{} has an owner already", frame.id());
        stamp(&self.arena, &frame, mark(me, &frame));
        Some(frame)
    }

    fn give(&self, me: u64, frame: Frame) {
        check_stamp(&self.arena, &frame, mark(me, &frame));
        let before = self.owners[frame.id().index()].swap(0, Ordering::Relaxed);
        assert_eq!(u64::from(before), me, "{} was somebody else's", frame.id());
        self.arena.free_frame(frame);
    }

    fn work(&self, me: u64, rounds: usize, most: usize) -> Vec<Frame> {
        let mut random = Random(me.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut frames: Vec<Frame> = Vec::new();
        for round in 0..rounds {
            if round % 64 == 63 {
                match random.below(8) {
                    0 => self.arena.trim(),
                    _ => self.arena.decay(),
                };
                let stats = self.arena.stats();
                assert!(stats.held <= stats.limit, "{stats:?}");
            }
            let burst = random.below(16);
            if random.below(2) == 0 {
                let room = most - frames.len();
                frames.extend((0..burst.min(room)).map_while(|_| self.take(me)));
            } else {
                for _ in 0..burst.min(frames.len()) {
                    let at = random.below(frames.len());
                    self.give(me, frames.swap_remove(at));
                }
            }
        }
        frames
    }
}

fn run<B: Backing + 'static>(backing: B, page_size: PageSize, huge_blocks: bool) {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        decay_ns: 1_000_000,
        huge_blocks,
        ..common::blocks(page_size, 3)
    };
    let shared = Shared::new(backing, options);
    let all = options.limit as usize / page_size.bytes();
    // Together somewhat more than there is, so that the limit is met.
    let most = all * 3 / 10;
    let worker = |me: u64| {
        let shared = Arc::clone(&shared);
        let rounds = effort(6000, 400);
        std::thread::spawn(move || {
            let frames = shared.work(me, rounds, most);
            for frame in frames {
                shared.give(me, frame);
            }
        })
    };
    let workers: Vec<_> = (1..=THREADS).map(worker).collect();
    for worker in workers {
        worker.join().expect("no panic");
    }
    let arena = &shared.arena;
    check(arena, 0);
    assert_eq!(arena.frames_in_use(), 0);
    arena.trim();
    assert_eq!(arena.stats().held, arena.stats().metadata);
    // Nothing got lost: all can be had, as in a new arena.
    let frames = alloc_up_to(arena, usize::MAX);
    let unit = arena.backing().granule().max(page_size.bytes()) as u64;
    let stats = arena.stats();
    assert!(stats.limit - stats.held < unit + 2 * arena.backing().granule() as u64);
    free_all(arena, frames);
    check(arena, 0);
}

#[test]
fn anonymous_memory() {
    for page in PageSize::ALL {
        run(AnonBacking::new(), page, false);
        run(AnonBacking::new(), page, true);
    }
}

#[test]
fn memfd_memory() {
    run(MemfdBacking::default(), PageSize::K4, false);
    run(MemfdBacking::default(), PageSize::K64, true);
}

#[test]
fn poisoned_memory_of_large_granules() {
    run(HeapBacking::new(64 << 10), PageSize::K4, false);
    run(HeapBacking::new(16 << 10), PageSize::K16, false);
}

/// Memory is there: nobody may be told otherwise, however the others trim.
#[test]
fn no_memory_is_not_said_while_there_is_plenty() {
    for page_size in PageSize::ALL {
        let options = ArenaOptions {
            page_size,
            ..ArenaOptions::new(64 * THREADS * 8 * page_size.bytes() as u64 + (64 << 20))
        };
        let shared = Shared::new(AnonBacking::new(), options);
        let worker = |me: u64| {
            let shared = Arc::clone(&shared);
            let rounds = effort(400, 40);
            std::thread::spawn(move || {
                for round in 0..rounds {
                    let take = || shared.take(me).expect("far below the limit");
                    let frames: Vec<_> = (0..48).map(|_| take()).collect();
                    if round % 3 == 0 {
                        shared.arena.trim();
                    }
                    for frame in frames {
                        shared.give(me, frame);
                    }
                    shared.arena.trim();
                }
            })
        };
        let workers: Vec<_> = (1..=THREADS).map(worker).collect();
        for worker in workers {
            worker.join().expect("no panic");
        }
        check(&shared.arena, 0);
    }
}
