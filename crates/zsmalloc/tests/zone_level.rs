//! Pools under what moves frames of a whole arena: contiguous ranges, frames and zones that go, compaction.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zs_mm::{
    Arena, ArenaOptions, CompactOptions, Error, FrameId, MigrateMode, Movable, ZoneId, ZoneSpecs,
};
use zs_os::{AnonBacking, HOST};
use zsmalloc::{Handle, HandleTable, Pool, PoolOptions};

type TestPool<'a> = Pool<&'a Arena<AnonBacking>, HandleTable>;

const OBJECTS: usize = 30_000;

/// An object's bytes follow from its number.
fn bytes(number: usize) -> Vec<u8> {
    let len = 100 + number * 37 % 3900;
    (0..len).map(|at| (number + at * 7) as u8).collect()
}

fn fill(pool: &TestPool<'_>) -> Vec<Option<Handle>> {
    let mut handles: Vec<_> = (0..OBJECTS)
        .map(|number| pool.insert(&bytes(number)).ok())
        .collect();
    for (number, handle) in handles.iter_mut().enumerate() {
        if number * 7919 % 10 < 4 {
            pool.free(handle.take().expect("room for all"))
                .expect("live");
        }
    }
    handles
}

fn check_one(pool: &TestPool<'_>, handle: Handle, number: usize) {
    let mut buffer = [0; 4096];
    let len = pool.read_into(handle, &mut buffer).expect("live");
    assert!(buffer[..len] == bytes(number), "object {number}");
}

fn check(pool: &TestPool<'_>, handles: &[Option<Handle>]) {
    for (number, handle) in handles.iter().enumerate() {
        let Some(handle) = handle else { continue };
        check_one(pool, *handle, number);
    }
}

#[test]
fn everything_survives_while_readers_and_writers_go_on() {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        ..ArenaOptions::new(192 << 20)
    };
    let arena = Arena::new(AnonBacking::new(), &HOST, options).expect("an arena");
    let pool = Pool::new(&arena, PoolOptions::named("zones")).expect("a pool");
    let handles = fill(&pool);
    let owners: [&dyn Movable; 1] = [&pool];
    let (stop, reads, writes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut done = [0_u64; 4];
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                check(&pool, &handles);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let writer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let own: Vec<_> = (0..500).map(|number| pool.insert(&bytes(number))).collect();
                for (number, handle) in own.into_iter().enumerate() {
                    let Ok(handle) = handle else { continue };
                    check_one(&pool, handle, number);
                    pool.free(handle).expect("live");
                }
                writes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let is_retryable = |error: &Error| {
            matches!(
                error,
                Error::InTheWay { .. } | Error::NoMemory | Error::NotGivenBack
            )
        };
        for round in 0..100_000_u32 {
            let enough = done.iter().all(|&count| count > 5) && round > 60;
            if enough && reads.load(Ordering::Relaxed) > 2 && writes.load(Ordering::Relaxed) > 2 {
                break;
            }
            let outcome = match round % 4 {
                0 => arena
                    .alloc_contiguous(9, &owners)
                    .map(|block| arena.free_contiguous(block)),
                1 => arena.offline_frame(FrameId(round * 131 % 20_000), &owners),
                2 => {
                    let zone = ZoneId(round / 4 % 2);
                    let outcome = arena.offline_zone(zone, &owners);
                    arena.online_zone(zone).expect("nobody else is at it");
                    outcome
                }
                _ => {
                    let options = CompactOptions::new(MigrateMode::Async);
                    let zone = ZoneId(round / 4 % 2);
                    arena.compact_zone(zone, &owners, options).map(|report| {
                        assert!(report.met() || report.frames_moved == 0, "{report:?}");
                    })
                }
            };
            match outcome {
                Ok(()) => done[round as usize % 4] += 1,
                Err(error) => assert!(is_retryable(&error), "{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().is_ok() && writer.join().is_ok(), "no panic");
    });
    assert!(done.iter().all(|&count| count > 5), "{done:?}");
    check(&pool, &handles);
    pool.drain();
    pool.validate().expect("a valid pool");
    for zone in arena.zones() {
        let moves = arena.zone_moves(zone).expect("a zone");
        assert_eq!((moves.isolated, moves.draining), (0, 0));
    }
    handles
        .into_iter()
        .flatten()
        .for_each(|handle| pool.free(handle).expect("live"));
    pool.trim();
    assert_eq!(arena.stats().in_use, 0);
}
