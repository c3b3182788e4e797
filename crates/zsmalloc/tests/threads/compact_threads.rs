//! Compaction among threads: rows Z7, Z11 and Z24, and contents while everything moves.

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
use zsmalloc::{
    CompactBudget, CompactEnd, CompactReport, Error, Handle, HandlePool, Pool, PoolOptions,
};

type TestPool<'a> = HandlePool<&'a TestArena>;

/// Rounds, until every window was met.
const MOST_ROUNDS: u64 = 40;

fn pool(arena: &TestArena) -> TestPool<'_> {
    Pool::new(arena, PoolOptions::named("compact")).expect("a pool")
}

fn arena(page: PageSize) -> TestArena {
    World::arena(page, 48 << 20, 4096).expect("an arena").0
}

/// Inserts `count` objects of one class and frees two of three.
fn sparse(pool: &TestPool<'_>, count: u64) -> Vec<(Handle, u64)> {
    let len = pool.geometry().page_size().bytes() / 3;
    let insert = |n: u64| (pool.insert(&pattern(n, len)).expect("room"), n);
    let all: Vec<_> = (0..count).map(insert).collect();
    let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, n)| n % 3 != 0);
    gone.into_iter()
        .for_each(|(handle, _)| pool.free(handle).expect("live"));
    kept
}

fn check(pool: &TestPool<'_>, kept: &[(Handle, u64)]) {
    let mut buffer = vec![0; pool.geometry().page_size().bytes()];
    for &(handle, n) in kept {
        let len = pool.read_into(handle, &mut buffer).expect("live");
        assert!(buffer[..len] == pattern(n, len), "object {n}");
    }
}

/// Row Z24: pinned objects stay, all others move; when they are let go of, they move too.
#[test]
fn z24_pinned_objects_keep_nobody_else() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pool = pool(&arena);
        let kept = sparse(&pool, 600);
        let (frames, possible) = (pool.stats().frames, pool.can_compact());
        let pinned = || kept.iter().step_by(40).map(|(handle, _)| *handle);
        let guards: Vec<_> = pinned()
            .map(|handle| pool.read(handle).expect("live"))
            .collect();
        let places: Vec<_> = guards
            .iter()
            .map(|guard| guard.spans().first.as_ptr())
            .collect();
        let report = pool.compact(CompactBudget::UNLIMITED);
        assert_eq!(report.end, CompactEnd::Done);
        assert!(
            report.objects_busy > 0 && report.objects_moved > 100,
            "{report:?}"
        );
        let freed = frames - pool.stats().frames;
        assert!(
            freed * 2 > possible,
            "{freed} of {possible} frames at {page}"
        );
        let now = guards.iter().map(|guard| guard.spans().first.as_ptr());
        assert!(now.eq(places), "a pinned object moved");
        drop(guards);
        pool.compact(CompactBudget::UNLIMITED);
        assert_eq!(pool.can_compact(), 0);
        assert_eq!(frames - pool.stats().frames, possible);
        check(&pool, &kept);
        pool.validate().expect("valid");
    }
}

/// Compactions that each of many callers does; those that find another at work do not count.
const COMPACTIONS: usize = 30;

/// Four callers at once, each of which compacts `objects` objects at a time; what each was told.
fn many_callers(
    pool: &TestPool<'_>,
    objects: u64,
    go_on: impl Fn() -> bool + Sync,
) -> [Vec<CompactReport>; 4] {
    let work = || {
        let (mut told, mut done) = (Vec::new(), 0);
        while done < COMPACTIONS {
            let report = pool.compact_while(CompactBudget::objects(objects), &go_on);
            done += usize::from(report.end != CompactEnd::Elsewhere);
            told.push(report);
            // It is another's turn, on a machine with one CPU too.
            thread::yield_now();
        }
        told
    };
    thread::scope(|scope| {
        let workers = [(); 4].map(|()| scope.spawn(work));
        workers.map(|worker| worker.join().expect("no panic"))
    })
}

/// Row Z7: many callers, of whom several free frames; what they report adds up to what went.
#[test]
fn z7_the_reports_of_many_callers_add_up() {
    for page in PageSize::ALL {
        let (mut several, mut rounds) = (false, 0);
        while !several && rounds < MOST_ROUNDS {
            rounds += 1;
            let arena = arena(page);
            let pool = pool(&arena);
            let kept = sparse(&pool, 900);
            let (frames, in_use) = (pool.stats().frames, arena.frames_in_use());
            // One caller's share is less than half of what there is to move.
            let reports = many_callers(&pool, 3, || {
                thread::yield_now();
                true
            });
            let freed = |report: &CompactReport| report.frames_freed;
            let attached = |report: &CompactReport| report.frames_attached;
            let net = reports.iter().flatten().map(freed).sum::<u64>()
                - reports.iter().flatten().map(attached).sum::<u64>();
            assert!(net > 0, "no frame went at {page}");
            assert_eq!(frames - pool.stats().frames, net, "{page}");
            assert_eq!(in_use - arena.frames_in_use(), net, "{page}");
            let worked = reports
                .iter()
                .filter(|told| told.iter().map(freed).sum::<u64>() > 0);
            several = worked.count() > 1;
            check(&pool, &kept);
            pool.validate().expect("valid");
        }
        assert!(several, "one caller did all at {page}");
    }
}

/// Row Z11: many callers; one works at a time, the others return at once.
#[test]
fn z11_of_many_callers_one_works() {
    let (mut elsewhere, mut rounds) = (0, 0);
    while elsewhere == 0 && rounds < MOST_ROUNDS {
        rounds += 1;
        let arena = arena(PageSize::K4);
        let pool = pool(&arena);
        let kept = sparse(&pool, scaled(3000));
        let inside = AtomicU64::new(0);
        let reports = many_callers(&pool, 20, || {
            assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "two at work");
            thread::yield_now();
            inside.fetch_sub(1, Ordering::AcqRel);
            true
        });
        let last = pool.compact(CompactBudget::UNLIMITED);
        assert_ne!(
            last.end,
            CompactEnd::Elsewhere,
            "nobody is at work any more"
        );
        let refused = |report: &&CompactReport| report.end == CompactEnd::Elsewhere;
        elsewhere += reports.iter().flatten().filter(refused).count();
        check(&pool, &kept);
        pool.validate().expect("valid");
    }
    assert!(elsewhere > 0, "nobody met another compactor");
}

/// Callers that come and go: the last one's end is the end.
#[test]
fn z11_whoever_was_refused_leaves_no_trace() {
    let arena = arena(PageSize::K4);
    let pool = pool(&arena);
    let (mut elsewhere, mut rounds) = (0, 0);
    while rounds < scaled(100) || (elsewhere == 0 && rounds < 20_000) {
        rounds += 1;
        let ask = || {
            let ends = (0..500).map(|_| pool.compact(CompactBudget::objects(0)).end);
            ends.filter(|&end| end == CompactEnd::Elsewhere).count()
        };
        elsewhere += thread::scope(|scope| {
            let callers = [(); 4].map(|()| scope.spawn(ask));
            callers
                .map(|caller| caller.join().expect("no panic"))
                .iter()
                .sum::<usize>()
        });
        assert_eq!(pool.compact(CompactBudget::UNLIMITED).end, CompactEnd::Done);
    }
    assert!(elsewhere > 0, "nobody met another compactor");
}

/// Row Z24: more zspages with a pinned object than are remembered at a time.
#[test]
fn z24_pinned_zspages_do_not_hide_the_rest() {
    let arena = arena(PageSize::K4);
    let pool = pool(&arena);
    let len = 1365;
    let class = pool.geometry().lookup(len).expect("a class");
    let slots = pool.geometry().class(class).slots as usize;
    let all: Vec<_> = (0..slots as u64 * 300)
        .map(|n| (pool.insert(&pattern(n, len)).expect("room"), n))
        .collect();
    let (mut kept, mut pinned) = (Vec::new(), Vec::new());
    for (zspage, objects) in all.chunks(slots).enumerate() {
        // The first 100 keep one object, the others half of theirs.
        for (at, &(handle, n)) in objects.iter().enumerate() {
            if (zspage < 100 && at > 0) || at % 2 == 1 {
                pool.free(handle).expect("live");
            } else {
                kept.push((handle, n));
            }
        }
        if zspage < 100 {
            pinned.push(pool.read(objects[0].0).expect("live"));
        }
    }
    let (possible, frames) = (pool.can_compact(), pool.stats().frames);
    let report = pool.compact(CompactBudget::UNLIMITED);
    assert!(report.objects_busy >= 100, "{report:?}");
    let freed = frames - pool.stats().frames;
    assert!(
        freed * 10 > possible * 9,
        "{freed} of {possible}: {report:?}"
    );
    drop(pinned);
    check(&pool, &kept);
    pool.validate().expect("valid");
}

/// Zspages that others close all the while: what can move moves all the same.
#[test]
fn compaction_goes_on_while_others_close_zspages() {
    let mut closed_meanwhile = false;
    for _ in 0..MOST_ROUNDS {
        let arena = arena(PageSize::K4);
        let pool = pool(&arena);
        let len = PageSize::K4.bytes() / 3;
        let insert = |n: u64| pool.insert(&pattern(n, len)).expect("room");
        let others: Vec<_> = (0..4000).map(insert).collect();
        let kept = sparse(&pool, 3000);
        let done = AtomicU64::new(0);
        let report = thread::scope(|scope| {
            let freer = scope.spawn(|| {
                others
                    .into_iter()
                    .for_each(|handle| pool.free(handle).expect("live"));
                done.store(1, Ordering::Release);
            });
            let report = pool.compact(CompactBudget::UNLIMITED);
            closed_meanwhile |= done.load(Ordering::Acquire) == 0;
            freer.join().expect("no panic");
            report
        });
        assert!(report.objects_moved > 100, "{report:?}");
        check(&pool, &kept);
        pool.validate().expect("valid");
        if closed_meanwhile {
            return;
        }
    }
    panic!("no zspage was closed meanwhile");
}

/// What the workers of a round met.
#[derive(Debug, Default)]
struct Met {
    moved: AtomicU64,
    busy: AtomicU64,
    stale: AtomicU64,
    replaced: AtomicU64,
    deferred: AtomicU64,
    trimmed: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Met {
    fn all(&self) -> bool {
        let windows = [
            &self.moved,
            &self.busy,
            &self.stale,
            &self.replaced,
            &self.deferred,
            &self.trimmed,
        ];
        windows.iter().all(|hits| hits.load(Ordering::Relaxed) > 0)
    }
}

/// Objects that all threads know: their handles.
const SHARED: usize = 64;

/// Reads, replaces and frees what others do too, and checks that bytes are whole.
fn disturb(pool: &TestPool<'_>, shared: &[AtomicU64; SHARED], met: &Met, seed: u64) {
    let len = pool.geometry().page_size().bytes() / 3;
    let mut numbers = Numbers::new(seed);
    let whole = |bytes: &[u8]| {
        let stamp = u64::from_le_bytes(bytes[..8].try_into().expect("a stamp"));
        assert!(bytes[8..] == pattern(stamp, bytes.len() - 8), "torn");
    };
    let stamped = |stamp: u64| [&stamp.to_le_bytes()[..], &pattern(stamp, len - 8)].concat();
    for _ in 0..scaled(4000) {
        let at = &shared[numbers.below(SHARED)];
        let bytes = stamped(numbers.draw());
        let Some(handle) = Handle::from_bits(at.load(Ordering::Acquire)) else {
            let new = pool.insert(&bytes).expect("room");
            if let Some(before) = Handle::from_bits(at.swap(new.to_bits(), Ordering::AcqRel)) {
                pool.free(before).expect("ours since the swap");
            }
            continue;
        };
        let outcome = match numbers.below(8) {
            0 => pool.replace(handle, &bytes).map(|_| add(&met.replaced, 1)),
            1 if at
                .compare_exchange(handle.to_bits(), 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok() =>
            {
                let guard = pool.read(handle);
                pool.free(handle).expect("ours since the exchange");
                guard.map(|guard| {
                    add(&met.deferred, 1);
                    whole(&[guard.spans().first, guard.spans().second].concat());
                })
            }
            2 => pool.write(handle, 0, &bytes),
            _ => pool
                .read(handle)
                .map(|guard| whole(&[guard.spans().first, guard.spans().second].concat())),
        };
        match outcome {
            Ok(()) => {}
            Err(Error::Stale) => add(&met.stale, 1),
            Err(Error::Busy) => add(&met.busy, 1),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn contents_stay_whole_while_everything_moves() {
    for page in PageSize::ALL {
        let met = Met::default();
        for round in 0..MOST_ROUNDS {
            let arena = arena(page);
            let pool = pool(&arena);
            let kept = sparse(&pool, 900);
            let shared = [const { AtomicU64::new(0) }; SHARED];
            let running = AtomicU64::new(3);
            thread::scope(|scope| {
                let (pool, shared, met, running) = (&pool, &shared, &met, &running);
                let workers = [0, 1, 2].map(|n| {
                    scope.spawn(move || {
                        disturb(pool, shared, met, round * 3 + n);
                        running.fetch_sub(1, Ordering::Release);
                    })
                });
                let mover = scope.spawn(move || {
                    while running.load(Ordering::Acquire) > 0 {
                        let report = pool.compact(CompactBudget::objects(200));
                        add(&met.moved, report.objects_moved);
                        add(&met.busy, report.objects_busy);
                        add(&met.trimmed, pool.trim());
                    }
                });
                // By handle: ThreadSanitizer does not see the end of a scope.
                for worker in workers {
                    worker.join().expect("no panic");
                }
                mover.join().expect("no panic");
            });
            check(&pool, &kept);
            pool.validate().expect("valid");
            if met.all() {
                break;
            }
        }
        assert!(met.all(), "{met:?} at {page}");
    }
}
