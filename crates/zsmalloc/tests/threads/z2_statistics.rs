//! Row Z2: statistics that are read under load never exceed what exists.

#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

use std::thread;
use zs_mm::PageSize;
use zs_model::{Numbers, TestArena, World, pattern, scaled};
use zs_sync::{AtomicU64, Ordering};
use zsmalloc::{ClassIndex, CompactBudget, Error, Handle, HandlePool, Pool, PoolOptions};

type TestPool<'a> = HandlePool<&'a TestArena>;

/// Rounds, until the watchers have seen something and the limit was met.
const MOST_ROUNDS: usize = 20;

/// Inserts, frees and replaces near the arena's limit.
fn work(pool: &TestPool<'_>, seed: u64, steps: u64, refused: &AtomicU64) {
    let page = pool.geometry().page_size().bytes();
    let mut numbers = Numbers::new(seed);
    let mut mine: Vec<Handle> = Vec::new();
    for _ in 0..steps {
        let bytes = pattern(seed, 1 + numbers.below(page));
        let outcome = match numbers.below(6) {
            0 if !mine.is_empty() => pool.free(mine.swap_remove(numbers.below(mine.len()))),
            1 if !mine.is_empty() => {
                let handle = mine[numbers.below(mine.len())];
                pool.replace(handle, &bytes).map(|_| ())
            }
            _ => pool.insert(&bytes).map(|handle| mine.push(handle)),
        };
        match outcome {
            Ok(()) => {}
            Err(Error::NoMemory) => {
                refused.fetch_add(1, Ordering::Relaxed);
                let half = mine.len() / 2;
                mine.drain(half..)
                    .for_each(|handle| pool.free(handle).expect("mine"));
            }
            Err(error) => panic!("{error}"),
        }
        if numbers.below(64) == 0 {
            pool.compact(CompactBudget::objects(40));
        }
    }
    mine.into_iter()
        .for_each(|handle| pool.free(handle).expect("mine"));
}

/// Counts a worker out, also when it panics: else the others would wait for it for ever.
struct Ended<'a>(&'a AtomicU64);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Looks at every figure; returns whether there was anything to see.
fn look(pool: &TestPool<'_>) -> bool {
    let page = pool.geometry().page_size().bytes() as u64;
    for class in ClassIndex::all().map(|class| pool.class_stats(class)) {
        assert!(class.objects <= class.slots, "{class:?}");
        assert!(
            class.payload_bytes <= class.objects * u64::from(class.class.size),
            "{class:?}"
        );
        assert!(
            class.payload_bytes <= u64::from(class.frames) * page,
            "{class:?}"
        );
        assert!(
            class.frames <= class.zspages * u32::from(class.class.chain),
            "{class:?}"
        );
        assert_eq!(class.groups.iter().sum::<u32>(), class.zspages, "{class:?}");
        assert!(class.slots <= u64::from(class.zspages) * u64::from(class.class.slots));
    }
    let stats = pool.stats();
    assert!(stats.objects <= stats.slots, "{stats:?}");
    assert!(stats.payload_bytes <= stats.frame_bytes, "{stats:?}");
    let limit = pool.arena().options().limit;
    assert!(
        stats.frame_bytes + stats.metadata.total() <= limit + 64 * page,
        "{stats:?}"
    );
    // The estimate that made a reclaimer spin for ever: never more than the frames there can be.
    let possible = pool.can_compact();
    assert!(possible <= limit / page, "{possible} frames to free");
    let arena = pool.arena().stats();
    assert!(
        arena.held <= arena.limit && arena.peak <= arena.limit,
        "{arena:?}"
    );
    assert!(
        arena.cached <= arena.held && arena.metadata <= arena.held,
        "{arena:?}"
    );
    stats.objects > 0
}

/// Three workers, which compact by the way, and two watchers; returns how often there was something
/// to see.
fn watched_round(pool: &TestPool<'_>, refused: &AtomicU64) -> u64 {
    let running = AtomicU64::new(3);
    thread::scope(|scope| {
        let running = &running;
        let workers = [0, 1, 2].map(|seed| {
            scope.spawn(move || {
                let _ended = Ended(running);
                work(pool, seed, scaled(6000), refused);
            })
        });
        let watch = || {
            let mut seen = 0;
            while running.load(Ordering::Acquire) > 0 {
                seen += u64::from(look(pool));
            }
            seen
        };
        let watchers = [(); 2].map(|()| scope.spawn(watch));
        let seen = watchers.map(|watcher| watcher.join().expect("no panic"));
        // By handle: ThreadSanitizer does not see the end of a scope.
        for worker in workers {
            worker.join().expect("no panic");
        }
        seen.iter().sum()
    })
}

#[test]
fn z2_statistics_under_load_never_exceed_what_exists() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 2 << 20, 4096).expect("an arena");
        let pool = Pool::new(&arena, PoolOptions::named("load")).expect("a pool");
        let refused = AtomicU64::new(0);
        let mut seen = 0;
        for _ in 0..MOST_ROUNDS {
            seen += watched_round(&pool, &refused);
            if seen > 0 && refused.load(Ordering::Relaxed) > 0 {
                break;
            }
        }
        let refused = refused.load(Ordering::Relaxed);
        assert!(
            seen > 0 && refused > 0,
            "{seen} looks, {refused} at the limit, {page}"
        );
        pool.validate().expect("valid");
        assert_eq!(pool.stats().objects, 0);
    }
}
