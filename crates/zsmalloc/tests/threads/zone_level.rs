//! Pools under what moves frames of a whole arena: contiguous ranges, frames and zones that go,
//! compaction.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zs_mm::{
    Arena, ArenaOptions, CompactOptions, Error, FrameId, MigrateMode, Movable, ZoneId, ZoneSpecs,
};
use zs_os::{AnonBacking, HOST};
use zsmalloc::{Handle, HandleTable, Pool, PoolOptions};

type TestPool<'a> = Pool<&'a Arena<AnonBacking>, HandleTable>;

/// A sanitizer makes everything slow.
fn objects() -> usize {
    match std::env::var_os("ZS_SANITIZER") {
        Some(_) => 5_000,
        None => 30_000,
    }
}

/// An object's bytes follow from its number.
fn bytes(number: usize) -> Vec<u8> {
    let len = 100 + number * 37 % 3900;
    (0..len).map(|at| (number + at * 7) as u8).collect()
}

fn fill(pool: &TestPool<'_>) -> Vec<Option<Handle>> {
    let mut handles: Vec<_> = (0..objects())
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

/// One operation on the arena, in which others are at work.
fn operate(arena: &Arena<AnonBacking>, owners: &[&dyn Movable], round: u32) -> Result<(), Error> {
    let zone = ZoneId(round / 4 % 2);
    match round % 4 {
        0 => arena
            .alloc_contiguous(9, owners)
            .map(|block| arena.free_contiguous(block)),
        1 => arena.offline_frame(FrameId(round * 131 % 20_000), owners),
        2 => {
            let outcome = arena.offline_zone(zone, owners);
            arena.online_zone(zone).expect("nobody else is at it");
            outcome
        }
        _ => {
            let options = CompactOptions::new(MigrateMode::Async);
            let report = arena.compact_zone(zone, owners, options)?;
            assert!(report.met(), "{report:?}");
            Ok(())
        }
    }
}

/// Operates until each kind has succeeded a few times, and the others have had their turns.
fn operate_on(arena: &Arena<AnonBacking>, owners: &[&dyn Movable], others: [&AtomicU64; 2]) {
    let mut done = [0_u64; 4];
    for round in 0..100_000 {
        let enough = done.iter().all(|&count| count > 5) && round > 60;
        if enough && others.iter().all(|other| other.load(Ordering::Relaxed) > 2) {
            return;
        }
        match operate(arena, owners, round) {
            Ok(()) => done[round as usize % 4] += 1,
            Err(Error::InTheWay { .. } | Error::NoMemory) => {}
            Err(error) => unreachable!("{error}"),
        }
    }
    unreachable!("{done:?}, {others:?}");
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
    let (stop, reads, writes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let reader = || {
        while !stop.load(Ordering::Relaxed) {
            check(&pool, &handles);
            reads.fetch_add(1, Ordering::Relaxed);
        }
    };
    let writer = || {
        while !stop.load(Ordering::Relaxed) {
            let own: Vec<_> = (0..500).map(|number| pool.insert(&bytes(number))).collect();
            for (number, handle) in own.into_iter().enumerate() {
                let Ok(handle) = handle else { continue };
                check_one(&pool, handle, number);
                pool.free(handle).expect("live");
            }
            writes.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(reader), scope.spawn(writer)];
        let operator = scope.spawn(|| operate_on(&arena, &[&pool], [&reads, &writes]));
        let operated = operator.join();
        stop.store(true, Ordering::Relaxed);
        let others = threads.map(|thread| thread.join());
        assert!(
            operated.is_ok() && others.iter().all(Result::is_ok),
            "no panic"
        );
    });
    check(&pool, &handles);
    pool.drain();
    pool.validate().expect("a valid pool");
    for zone in arena.zones() {
        let moves = arena.zone_moves(zone).expect("a zone");
        assert_eq!((moves.isolated, moves.draining), (0, 0));
    }
    let free = |handle| pool.free(handle).expect("live");
    handles.into_iter().flatten().for_each(free);
    pool.trim();
    assert_eq!(arena.stats().in_use, 0);
}
