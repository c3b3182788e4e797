//! What a compaction promises: its budget, its end, its report, and what it leaves.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use zs_mm::PageSize;
use zs_model::{Numbers, TestArena, World, pattern};
use zsmalloc::{CompactBudget, CompactEnd, Handle, HandlePool, Pool, PoolOptions};

type TestPool<'a> = HandlePool<&'a TestArena>;

/// On one CPU, whichever the test runs on: frames that compaction frees are those that it takes.
fn at_every_size(test: impl Fn(&TestArena, &TestPool<'_>)) {
    for page in PageSize::ALL {
        let (arena, world) = World::arena(page, 128 << 20, 4096).expect("an arena");
        world.host.set_cpu(0);
        let pool = Pool::new(&arena, PoolOptions::named("compact")).expect("a pool");
        test(&arena, &pool);
        pool.validate().expect("valid");
    }
}

/// Objects of all sizes, of which `share` of 100 are freed by a seed; returns those that are left.
fn fill(pool: &TestPool<'_>, count: usize, share: usize, seed: u64) -> Vec<(Handle, Vec<u8>)> {
    let mut numbers = Numbers::new(seed);
    let page = pool.geometry().page_size().bytes();
    let mut objects = Vec::new();
    for n in 0..count {
        let bytes = pattern(n as u64, 1 + numbers.below(page));
        objects.push((pool.insert(&bytes).expect("room"), bytes));
    }
    objects.retain(|(handle, _)| {
        let kept = numbers.below(100) >= share;
        if !kept {
            pool.free(*handle).expect("live");
        }
        kept
    });
    objects
}

fn check(pool: &TestPool<'_>, objects: &[(Handle, Vec<u8>)]) {
    let mut buffer = vec![0; pool.geometry().page_size().bytes()];
    for (handle, bytes) in objects {
        assert_eq!(pool.read_into(*handle, &mut buffer), Ok(bytes.len()));
        assert!(buffer[..bytes.len()] == **bytes);
    }
}

#[test]
fn a_budget_of_zero_does_nothing() {
    at_every_size(|_, pool| {
        let objects = fill(pool, 600, 60, 1);
        let (before, possible) = (pool.stats(), pool.can_compact());
        for budget in [CompactBudget::objects(0), CompactBudget::frames(0)] {
            let report = pool.compact(budget);
            assert_eq!((report.end, report.objects_moved), (CompactEnd::Budget, 0));
            assert_eq!((report.frames_freed, report.frames_attached), (0, 0));
        }
        assert_eq!(pool.shrink(0), 0);
        assert_eq!((pool.stats(), pool.can_compact()), (before, possible));
        check(pool, &objects);
    });
}

#[test]
fn small_budgets_add_up_to_a_whole_compaction() {
    at_every_size(|_, pool| {
        let objects = fill(pool, 600, 60, 2);
        let (frames, possible) = (pool.stats().frames, pool.can_compact());
        assert!(possible > 0);
        let mut calls = 0;
        loop {
            let report = pool.compact(CompactBudget::objects(7));
            assert!(report.objects_moved <= 7, "{report:?}");
            calls += 1;
            assert!(calls < 10_000, "no end");
            match report.end {
                CompactEnd::Budget => assert_eq!(report.objects_moved, 7),
                end => {
                    assert_eq!(end, CompactEnd::Done);
                    break;
                }
            }
        }
        assert!(calls > 3);
        // What was done before the last call's start may have been undone by its records' moves
        // only.
        while pool.compact(CompactBudget::UNLIMITED).objects_moved > 0 {}
        assert_eq!(pool.can_compact(), 0);
        assert_eq!(pool.stats().frames + possible, frames);
        check(pool, &objects);
    });
}

#[test]
fn a_budget_of_frames_ends_soon_after_them() {
    at_every_size(|_, pool| {
        let objects = fill(pool, 900, 70, 3);
        let possible = pool.can_compact();
        let wanted = possible / 4;
        let report = pool.compact(CompactBudget::frames(wanted));
        assert_eq!(report.end, CompactEnd::Budget);
        let net = report.frames_freed - report.frames_attached;
        assert!(
            net >= wanted && net <= wanted + 2 * 32,
            "{net} for {wanted}"
        );
        assert_eq!(pool.can_compact() + net, possible);
        check(pool, &objects);
    });
}

#[test]
fn a_compaction_is_stopped_between_batches() {
    at_every_size(|_, pool| {
        let objects = fill(pool, 600, 60, 4);
        let mut asked = 0;
        let report = pool.compact_while(CompactBudget::UNLIMITED, || {
            asked += 1;
            // It may use the pool.
            assert!(pool.read(objects[0].0).is_ok());
            asked < 4
        });
        assert_eq!((report.end, asked), (CompactEnd::Stopped, 4));
        assert!(report.objects_moved <= 3 * 32);
        check(pool, &objects);
        assert_eq!(pool.compact(CompactBudget::UNLIMITED).end, CompactEnd::Done);
        check(pool, &objects);
    });
}

#[test]
fn a_pause_stops_compaction_and_its_end_lets_it_go_on() {
    at_every_size(|arena, pool| {
        let objects = fill(pool, 600, 60, 5);
        let (first, second) = (arena.pause_moves(), arena.pause_moves());
        assert_eq!(
            pool.compact(CompactBudget::UNLIMITED).end,
            CompactEnd::Paused
        );
        drop(first);
        let report = pool.compact(CompactBudget::UNLIMITED);
        assert_eq!((report.end, report.objects_moved), (CompactEnd::Paused, 0));
        drop(second);
        let report = pool.compact(CompactBudget::UNLIMITED);
        assert!(report.end == CompactEnd::Done && report.objects_moved > 0);
        check(pool, &objects);
    });
}

#[test]
fn a_second_compaction_finds_nothing_to_do() {
    at_every_size(|_, pool| {
        for share in [0, 50, 95, 100] {
            let objects = fill(pool, 900, share, share as u64);
            pool.compact(CompactBudget::UNLIMITED);
            while pool.compact(CompactBudget::UNLIMITED).objects_moved > 0 {}
            let again = pool.compact(CompactBudget::UNLIMITED);
            assert_eq!((again.end, again.objects_moved), (CompactEnd::Done, 0));
            assert_eq!((again.frames_freed, again.frames_attached), (0, 0));
            assert_eq!(pool.can_compact(), 0);
            check(pool, &objects);
            objects
                .into_iter()
                .for_each(|(handle, _)| pool.free(handle).expect("live"));
        }
    });
}

#[test]
fn shrink_gives_back_what_was_asked_for() {
    at_every_size(|arena, pool| {
        let page = pool.geometry().page_size().bytes() as u64;
        let objects = fill(pool, 900, 60, 6);
        pool.trim();
        let (held, possible) = (arena.stats().held, pool.can_compact());
        let wanted = possible / 2;
        let given = pool.shrink(wanted);
        assert!(given >= wanted * page, "{given} for {wanted} frames");
        assert_eq!(arena.stats().held + given, held);
        let rest = pool.can_compact();
        assert!(pool.shrink(u64::MAX) >= rest * page);
        assert_eq!((pool.can_compact(), pool.shrink(1)), (0, 0));
        assert_eq!(
            arena.stats().in_use,
            pool.stats().frame_bytes,
            "no frame is lost"
        );
        check(pool, &objects);
    });
}

#[test]
fn empty_table_pages_go_back_and_come_again() {
    at_every_size(|arena, pool| {
        let empty = arena.stats().held;
        for round in 0..3 {
            let objects = fill(pool, 1500, 0, round);
            let full = pool.metadata();
            let stale: Vec<_> = objects.iter().map(|(handle, _)| *handle).collect();
            // All but one go: the pages that it does not need, too.
            for (handle, _) in &objects[1..] {
                pool.free(*handle).expect("live");
            }
            pool.compact(CompactBudget::UNLIMITED);
            pool.trim();
            let left = pool.metadata();
            assert!(
                left.words < full.words && left.records < full.records,
                "{left:?}"
            );
            check(pool, &objects[..1]);
            for handle in &stale[1..] {
                assert!(pool.read(*handle).is_err(), "a stale handle reads");
            }
            pool.free(stale[0]).expect("live");
            pool.trim();
        }
        let tables = pool.metadata().total();
        assert!(arena.stats().held <= empty + tables);
    });
}

/// Objects of one class, of which few are left; every budget comes to an end, with the same result.
#[test]
fn every_budget_comes_to_an_end() {
    for (len, count, kept) in [(32, 12_000, 500), (32, 12_000, 128), (1365, 300, 70)] {
        for budget in [1, 2, 3, 7, 31, 32, 33, 64, 1000] {
            let (arena, _) = World::arena(PageSize::K4, 128 << 20, 4096).expect("an arena");
            let pool: TestPool<'_> =
                Pool::new(&arena, PoolOptions::named("budget")).expect("a pool");
            let insert = |n: usize| pool.insert(&pattern(n as u64, len)).expect("room");
            let all: Vec<_> = (0..count).map(insert).collect();
            for (n, handle) in all.iter().enumerate() {
                // The last, and here and there one.
                if n + kept < count && n % 29 != 0 {
                    pool.free(*handle).expect("live");
                }
            }
            let (first, objects) = (pool.stats().frames, pool.stats().objects);
            let (mut most, mut calls, mut moved) = (0, 0, 0);
            while {
                let report = pool.compact(CompactBudget::objects(budget));
                moved += report.objects_moved;
                report.end == CompactEnd::Budget
            } {
                most = most.max(pool.stats().frames);
                calls += 1;
                assert!(calls <= 8 * objects, "no end with {budget} at {len}");
            }
            assert!(
                moved <= 4 * objects,
                "{moved} moves of {objects} with {budget}"
            );
            assert!(most <= first + 8, "{most} frames of {first} with {budget}");
            assert_eq!(pool.can_compact(), 0, "with {budget} at {len}");
            pool.validate().expect("valid");
        }
    }
}

/// Small budgets, and a trim after each call, so that no empty frame is kept back.
#[test]
fn small_budgets_end_whatever_is_freed() {
    for len in (100..4090).step_by(367) {
        for seed in 0..6_usize {
            let (arena, _) = World::arena(PageSize::K4, 128 << 20, 4096).expect("an arena");
            let pool: TestPool<'_> =
                Pool::new(&arena, PoolOptions::named("budget")).expect("a pool");
            let insert = |n: u64| pool.insert(&pattern(n, len)).expect("room");
            let all: Vec<_> = (0..300).map(insert).collect();
            for (n, handle) in all.iter().enumerate() {
                if (n * 7 + n * n * seed + seed) % 11 > 2 {
                    pool.free(*handle).expect("live");
                }
            }
            pool.trim();
            let mut calls = 0;
            while pool.compact(CompactBudget::objects(1 + seed as u64)).end == CompactEnd::Budget {
                pool.trim();
                calls += 1;
                assert!(calls < 1000, "no end at {len}, seed {seed}");
            }
            assert_eq!(pool.can_compact(), 0, "at {len}, seed {seed}");
        }
    }
}

/// A caller's function that panics leaves nothing behind, and the pool usable.
#[test]
fn a_panic_between_batches_loses_nothing() {
    let (arena, _) = World::arena(PageSize::K4, 64 << 20, 4096).expect("an arena");
    let pool: TestPool<'_> = Pool::new(&arena, PoolOptions::named("panic")).expect("a pool");
    for last in 1..30 {
        let objects = fill(&pool, 300, 80, last);
        let mut calls = 0;
        let compaction = std::panic::AssertUnwindSafe(|| {
            pool.compact_while(CompactBudget::UNLIMITED, || {
                calls += 1;
                assert!(calls < last, "on purpose");
                true
            })
        });
        assert!(std::panic::catch_unwind(compaction).is_err(), "it panicked");
        assert_eq!(
            arena.stats().in_use,
            pool.stats().frame_bytes,
            "no frame is lost"
        );
        pool.validate().expect("valid");
        check(&pool, &objects);
        objects
            .into_iter()
            .for_each(|(handle, _)| pool.free(handle).expect("live"));
    }
}

/// A stale handle is refused although its word's page was closed and opened again.
#[test]
fn generations_survive_their_page() {
    at_every_size(|_, pool| {
        let mut stale: Vec<Handle> = Vec::new();
        for _ in 0..20 {
            let handle = pool.insert(b"x").expect("room");
            assert!(!stale.contains(&handle), "{handle} again");
            for old in &stale {
                assert!(pool.read(*old).is_err(), "{old} reads");
            }
            pool.free(handle).expect("live");
            stale.push(handle);
            let before = pool.metadata().words;
            pool.trim();
            assert!(pool.metadata().words < before, "the page of words went");
        }
    });
}

/// Classes of one slot a zspage, and the freed shares at the ends of the range.
#[test]
fn shares_of_0_and_100_percent_are_nothing_special() {
    at_every_size(|arena, pool| {
        let objects = fill(pool, 500, 0, 7);
        let (before, possible) = (pool.stats(), pool.can_compact());
        let report = pool.compact(CompactBudget::UNLIMITED);
        assert_eq!(report.end, CompactEnd::Done);
        assert_eq!(pool.stats().frames + possible, before.frames);
        check(pool, &objects);
        objects
            .into_iter()
            .for_each(|(handle, _)| pool.free(handle).expect("live"));
        let report = pool.compact(CompactBudget::UNLIMITED);
        assert_eq!((report.end, report.objects_moved), (CompactEnd::Done, 0));
        pool.trim();
        assert_eq!((pool.stats().frames, arena.frames_in_use()), (0, 0));
    });
}
