//! Frames of a pool between zones of every kind: under load no byte is lost, and each zone gives
//! back what left it.

#![cfg(not(any(zs_loom, zs_schedule)))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use zs_mm::{
    Arena, ArenaOptions, FrameId, FrameStatus, InZone, MigrateEnd, MigrateMode, MigrateOptions,
    MigrateReport, Movable, ZoneId, ZoneKind, ZoneSpec, ZoneSpecs,
};
use zs_model::pattern;
use zs_os::{AnonBacking, HOST, ProactiveThread, ZonedBacking};
use zsmalloc::{Handle, HandlePool, Pool, PoolOptions};

const MIB: u64 = 1 << 20;

type TestArena = Arena<ZonedBacking>;
type TestPool<'a> = HandlePool<&'a TestArena>;

const KINDS: [ZoneKind; 4] = [
    ZoneKind::Normal,
    ZoneKind::Huge,
    ZoneKind::Memfd,
    ZoneKind::File,
];

/// Zones of so many MiB, and the file that the zones of files take.
fn arena(zones: &[(ZoneKind, u32)]) -> (TestArena, File) {
    let spec = |&(kind, share): &(ZoneKind, u32)| ZoneSpec {
        share,
        ..ZoneSpec::new(kind)
    };
    let specs: Vec<_> = zones.iter().map(spec).collect();
    let size: u32 = zones.iter().map(|&(_, size)| size).sum();
    let file = tempfile::tempfile().expect("a file");
    file.set_len(64 * MIB).expect("a length");
    let seen = file.try_clone().expect("a descriptor");
    let backing = ZonedBacking::new().with_file(file).expect("a good file");
    let options = ArenaOptions {
        zones: ZoneSpecs::new(&specs),
        ..ArenaOptions::new(u64::from(size) * MIB)
    };
    (Arena::new(backing, &HOST, options).expect("an arena"), seen)
}

fn insert(pool: &TestPool<'_>, number: u64) -> (Handle, u64) {
    let bytes = pattern(number, length(number));
    (pool.insert(&bytes).expect("room"), number)
}

fn length(number: u64) -> usize {
    1 + (number as usize * 7919) % 4096
}

fn check(pool: &TestPool<'_>, objects: &[(Handle, u64)]) {
    let mut buffer = [0; 4096];
    for &(handle, number) in objects {
        let len = pool.read_into(handle, &mut buffer).expect("live");
        assert!(
            buffer[..len] == pattern(number, length(number)),
            "object {number}"
        );
    }
}

/// Moves every frame of the pool that is elsewhere into a zone.
fn move_to(pool: &TestPool<'_>, zone: ZoneId) -> (MigrateReport, Vec<FrameStatus>) {
    let arena = pool.arena();
    let elsewhere = |frame: &FrameId| arena.zone_of_frame(*frame) != Some(zone);
    let owned = (0..)
        .map(FrameId)
        .map_while(|frame| Some((frame, arena.frame_descriptor(frame)?)))
        .filter(|(_, descriptor)| descriptor.owner().is_some());
    let frames: Vec<_> = owned.map(|(frame, _)| frame).filter(elsewhere).collect();
    let owners: [&dyn Movable; 1] = [pool];
    let mut status = vec![FrameStatus::Pending; frames.len()];
    let options = MigrateOptions::new(MigrateMode::Sync);
    let to = &mut InZone(arena, zone);
    let report = arena.migrate_pages(&frames, &owners, to, options, &mut status);
    for status in &status {
        if let FrameStatus::Moved(frame) = *status {
            assert_eq!(arena.zone_of_frame(frame), Some(zone));
        }
    }
    (report, status)
}

/// Panics if a zone, the pool or the arena does not add up.
fn validate(pool: &TestPool<'_>) {
    // Frees the frames that were read from when they were moved.
    pool.trim();
    pool.validate().expect("the pool adds up");
    let arena = pool.arena();
    let metadata = pool.metadata().total();
    arena.validate(metadata).expect("the arena adds up");
    let (mut moved_in, mut moved_out) = (0, 0);
    for zone in arena.zones() {
        let moves = arena.zone_moves(zone).expect("a zone");
        assert_eq!((moves.isolated, moves.draining), (0, 0), "{zone:?}");
        moved_in += moves.moved_in;
        moved_out += moves.moved_out;
    }
    assert_eq!(moved_in, moved_out);
}

#[test]
fn frames_of_a_busy_pool_go_round_all_kinds_and_no_byte_is_lost() {
    let (arena, file) = arena(&KINDS.map(|kind| (kind, 16)));
    let pool = Pool::new(&arena, PoolOptions::named("tiers")).expect("a pool");
    let objects: Vec<_> = (0..1500).map(|number| insert(&pool, number)).collect();
    let (over, reads, writes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                check(&pool, &objects);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let mine: Vec<_> = (5000..5200).map(|number| insert(&pool, number)).collect();
                check(&pool, &mine);
                for (handle, _) in mine {
                    pool.free(handle).expect("live");
                }
                writes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let met = || {
            let both = [&reads, &writes].map(|count| count.load(Ordering::Relaxed));
            both.iter().all(|&count| count >= 10)
        };
        // At least twice around, and until both have been at work.
        for round in 0.. {
            for zone in [1, 2, 3, 0].map(ZoneId) {
                let (report, _) = move_to(&pool, zone);
                assert!(report.moved > 100, "round {round}, {zone:?}: {report:?}");
            }
            if round > 0 && met() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    check(&pool, &objects);
    validate(&pool);
    // With nobody else at work, all of it goes, and what it leaves behind is given back.
    for zone in [3, 2, 1, 0].map(ZoneId) {
        let (report, status) = move_to(&pool, zone);
        assert_eq!(report.end, MigrateEnd::Done);
        let left: Vec<_> = status.iter().filter(|status| !status.is_gone()).collect();
        assert!(left.is_empty(), "{zone:?}: {left:?}");
        arena.trim();
        let blocks = file.metadata().expect("a file").blocks() * 512;
        let expected = if zone == ZoneId(3) {
            2 * MIB..9 * MIB
        } else {
            0..1
        };
        assert!(expected.contains(&blocks), "{zone:?}: {blocks}");
        check(&pool, &objects);
        validate(&pool);
    }
}

#[test]
fn a_zone_that_is_full_takes_no_more_and_nothing_is_lost() {
    let (arena, _file) = arena(&[(ZoneKind::Normal, 14), (ZoneKind::File, 2)]);
    let pool = Pool::new(&arena, PoolOptions::named("full")).expect("a pool");
    let objects: Vec<_> = (0..1500).map(|number| insert(&pool, number)).collect();
    let (report, status) = move_to(&pool, ZoneId(1));
    assert_eq!((report.end, report.moved), (MigrateEnd::NoMemory, 512));
    let no_memory = status
        .iter()
        .filter(|status| **status == FrameStatus::NoMemory);
    assert!(no_memory.count() > 0);
    check(&pool, &objects);
    validate(&pool);
}

#[test]
fn a_thread_compacts_in_the_background() {
    let arena =
        Arc::new(Arena::new(AnonBacking, &HOST, ArenaOptions::new(64 * MIB)).expect("an arena"));
    let pool = Pool::new(Arc::clone(&arena), PoolOptions::named("idle")).expect("a pool");
    let pool: Arc<HandlePool<_>> = Arc::new(pool);
    // Whole frames, of which every eighth stays: no objects can be moved together.
    let all: Vec<_> = (0..8192_u64)
        .map(|number| (pool.insert(&pattern(number, 4096)).expect("room"), number))
        .collect();
    let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, number)| number % 8 == 0);
    for (handle, _) in gone {
        pool.free(handle).expect("live");
    }
    assert!(arena.fragmentation(ZoneId(0)).expect("a zone") > 90);
    let (sender, reports) = channel();
    let thread = ProactiveThread::spawn(Duration::ZERO, {
        let (arena, pool) = (Arc::clone(&arena), Arc::clone(&pool));
        move |stopping| {
            let go_on = || !stopping.is_asked();
            let report = arena.compact_proactive(&[&*pool as &dyn Movable], &go_on);
            // The test may have seen enough.
            let _ = sender.send(report.blocks_freed);
        }
    });
    let thread = thread.expect("a thread");
    let freed: u64 = reports
        .iter()
        .take(200)
        .take_while(|_| arena.fragmentation(ZoneId(0)).expect("a zone") > 90)
        .sum();
    drop(thread);
    assert!(
        arena.fragmentation(ZoneId(0)).expect("a zone") <= 90,
        "{freed} blocks freed"
    );
    assert_eq!(Arc::strong_count(&pool), 1, "the thread let go of the pool");
    let mut buffer = [0; 4096];
    for (handle, number) in kept {
        pool.read_into(handle, &mut buffer).expect("live");
        assert!(buffer[..] == pattern(number, 4096));
    }
}
