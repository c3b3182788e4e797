//! Frames that move among threads: rows Z3, M5 and M6, and contents while every frame moves from
//! zone to zone.
//!
//! The long form: `ZS_LONG=20 cargo test --release -p zsmalloc --test threads` plays ping-pong for
//! 20 s a frame size, and isolates a million frames that are being freed.

#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

use std::thread;
use std::time::{Duration, Instant};
use zs_mm::{
    Anywhere, ArenaOptions, Descriptor, FrameId, FrameStatus, InZone, MigrateMode, MigrateOptions,
    MigrateReport, Movable, PageSize, ZoneId, ZoneSpecs,
};
use zs_model::{Numbers, Signal, TestArena, World, pattern, scaled, sound};
use zs_sync::{AtomicU64, Ordering};
use zsmalloc::{Error, Handle, HandlePool, MapMode, Pool, PoolOptions};

type TestPool<'a> = HandlePool<&'a TestArena>;

/// Rounds, until every window was met.
const MOST_ROUNDS: u64 = 200;

const MODES: [MigrateMode; 4] = [
    MigrateMode::Async,
    MigrateMode::SyncLight,
    MigrateMode::Sync,
    MigrateMode::SyncNoCopy,
];

/// An arena of two zones.
fn arena(page_size: PageSize) -> (TestArena, World) {
    let options = ArenaOptions {
        page_size,
        zones: ZoneSpecs::normal(2),
        ..ArenaOptions::new(48 << 20)
    };
    World::with_options(options, 4096).expect("an arena")
}

fn pool(arena: &TestArena) -> TestPool<'_> {
    Pool::new(arena, PoolOptions::named("migrate")).expect("a pool")
}

/// The frames that the pool owns.
fn owned(arena: &TestArena) -> Vec<FrameId> {
    let all = (0..).map(FrameId);
    let descriptors = all.map_while(|id| Some((id, arena.frame_descriptor(id)?)));
    let owned = descriptors.filter(|(_, found)| Descriptor::owner(*found).is_some());
    owned.map(|(id, _)| id).collect()
}

/// Hits of the windows that a test is about.
#[derive(Debug, Default)]
struct Met([(&'static str, AtomicU64); 10]);

impl Met {
    fn of(names: &[&'static str]) -> Self {
        let mut met = Self::default();
        for (window, name) in met.0.iter_mut().zip(names) {
            window.0 = name;
        }
        met
    }

    fn add(&self, name: &str, hits: u64) {
        let window = self.0.iter().find(|window| window.0 == name);
        let hit = &window.expect("a window of the test").1;
        hit.fetch_add(hits, Ordering::Relaxed);
    }

    fn all(&self) -> bool {
        let mut named = self.0.iter().filter(|window| !window.0.is_empty());
        named.all(|window| window.1.load(Ordering::Relaxed) > 0)
    }
}

fn status(pool: &TestPool<'_>, frame: FrameId, mode: MigrateMode) -> FrameStatus {
    let (arena, mut status) = (pool.arena(), [FrameStatus::Pending]);
    let options = MigrateOptions::new(mode);
    arena.migrate_pages(
        &[frame],
        &[pool],
        &mut Anywhere(arena),
        options,
        &mut status,
    );
    status[0]
}

/// Nothing is isolated or drains any more, and everything adds up.
fn settled(arena: &TestArena, pools: &[TestPool<'_>]) {
    pools.iter().for_each(Movable::drain);
    for zone in arena.zones() {
        let moves = arena.zone_moves(zone).expect("a zone");
        assert_eq!((moves.isolated, moves.draining), (0, 0));
    }
    sound(arena, pools).expect("sound");
}

/// In-place writes wait for the mover that has their frame, and for nobody else.
#[test]
fn writes_wait_for_whoever_isolated_their_frame() {
    for page in PageSize::ALL {
        let (arena, world) = arena(page);
        let pool = pool(&arena);
        let objects = [1, 2].map(|n| pool.insert(&pattern(n, 500)).expect("room"));
        let frame = owned(&arena)[0];
        let token = arena.isolate(frame, &[&pool], false).expect("at rest");
        let before = world.host.yields();
        let done = Signal::default();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                pool.write(objects[0], 0, &[7; 500]).expect("alone");
                done.raise();
            });
            let mapper = scope.spawn(|| {
                let mut buffer = [0; 500];
                let mapping = pool.map(objects[1], MapMode::WriteOnly, &mut buffer);
                mapping
                    .expect("alone")
                    .bytes_mut()
                    .expect("for writing")
                    .fill(8);
                done.raise();
            });
            // Each has found the frame isolated, and lets others run.
            while world.host.yields() < before + 100 {
                assert!(!done.is_raised(), "written into an isolated frame");
                thread::yield_now();
            }
            assert!(!done.is_raised(), "written into an isolated frame");
            drop(token);
            writer.join().expect("no panic");
            mapper.join().expect("no panic");
        });
        for (object, byte) in objects.into_iter().zip([7, 8]) {
            assert_eq!(pool.read(object).expect("live").spans().first, [byte; 500]);
        }
        pool.validate().expect("valid");
    }
}

/// Row Z3: all objects of a long chain go while each of its frames is moved.
#[test]
fn z3_free_a_chain_while_each_of_its_frames_moves() {
    for page in PageSize::ALL {
        let met = Met::of(&["moved", "freed by the mover", "busy", "gone"]);
        let (arena, _) = arena(page);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let classes = pool.geometry().classes().iter();
        let longest = *classes.max_by_key(|class| class.chain).expect("a class");
        let mut rounds = 0;
        while rounds < scaled(100) || !met.all() && rounds < 100 * MOST_ROUNDS {
            rounds += 1;
            let insert = |n| {
                pool.insert(&pattern(n, longest.size as usize))
                    .expect("room")
            };
            let objects: Vec<_> = (0..u64::from(longest.slots)).map(insert).collect();
            let (begun, done) = (Signal::default(), Signal::default());
            thread::scope(|scope| {
                let mover = scope.spawn(|| {
                    while !done.is_raised() {
                        for frame in owned(&arena) {
                            begun.raise();
                            match status(pool, frame, MigrateMode::Async) {
                                FrameStatus::Moved(_) => met.add("moved", 1),
                                FrameStatus::Freed => met.add("freed by the mover", 1),
                                FrameStatus::NotInUse => met.add("gone", 1),
                                FrameStatus::Busy => met.add("busy", 1),
                                other => panic!("{other:?}"),
                            }
                        }
                    }
                });
                while !begun.is_raised() {
                    thread::yield_now();
                }
                // Some are freed with a reader inside, whose old place drains.
                let mut guard = None;
                for (n, handle) in objects.into_iter().enumerate() {
                    // The mover has its turn in between, on one processor too.
                    thread::yield_now();
                    if n % 4 == 0 {
                        guard = pool.read(handle).ok();
                    }
                    pool.free(handle).expect("live");
                }
                drop(guard);
                done.raise();
                mover.join().expect("no panic");
            });
            pool.trim();
            assert_eq!(arena.frames_in_use(), 0, "round {rounds} at {page}");
            settled(&arena, &pools);
        }
        assert!(met.all(), "{met:?} at {page}");
    }
}

/// Rows M5 and M6: frames are isolated, by two at once, while they are attached and freed.
#[test]
fn m5_m6_isolate_what_is_being_freed_and_what_is_isolated() {
    let (arena, _) = arena(PageSize::K4);
    let pools = [pool(&arena)];
    let [pool] = &pools;
    let met = Met::of(&[
        "isolated",
        "isolated already",
        "not in use",
        "busy",
        "freed meanwhile",
    ]);
    let mut rounds = 0;
    while rounds < scaled(1) || !met.all() && rounds < MOST_ROUNDS {
        rounds += 1;
        let done = Signal::default();
        let isolate = |seed| {
            let mut numbers = Numbers::new(seed);
            while !done.is_raised() {
                // The first frames, which are used again and again.
                let frame = FrameId(numbers.below(4) as u32);
                match arena.isolate(frame, &[pool], false) {
                    Ok(token) => {
                        met.add("isolated", 1);
                        let before = pool.stats().objects;
                        thread::yield_now();
                        let gone = before > 0 && pool.stats().objects < before;
                        met.add("freed meanwhile", u64::from(gone));
                        drop(token);
                    }
                    Err(FrameStatus::AlreadyIsolated) => met.add("isolated already", 1),
                    Err(FrameStatus::NotInUse) => met.add("not in use", 1),
                    Err(FrameStatus::Busy) => met.add("busy", 1),
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        thread::scope(|scope| {
            let isolate = &isolate;
            let isolators = [1, 2].map(|n| scope.spawn(move || isolate(rounds * 2 + n)));
            for n in 0..50_000 {
                let len = if n % 2 == 0 { 4096 } else { 3000 };
                let handle = pool.insert(&[n as u8; 4096][..len]).expect("room");
                pool.free(handle).expect("live");
                if n % 64 == 0 {
                    pool.trim();
                }
            }
            done.raise();
            for isolator in isolators {
                isolator.join().expect("no panic");
            }
        });
        pool.trim();
        assert_eq!(arena.frames_in_use(), 0);
        settled(&arena, &pools);
    }
    assert!(met.all(), "{met:?}");
}

/// Objects that all threads know: their handles.
const SHARED: usize = 64;

/// Contents that say whether they are whole.
fn stamped(stamp: u64, len: usize) -> Vec<u8> {
    [&stamp.to_le_bytes()[..], &pattern(stamp, len - 8)].concat()
}

fn whole(bytes: &[u8]) {
    let stamp = u64::from_le_bytes(bytes[..8].try_into().expect("a stamp"));
    assert!(bytes[8..] == pattern(stamp, bytes.len() - 8), "torn");
}

/// Reads, writes, replaces, maps and frees what others do too, and checks that bytes are whole.
fn disturb(pool: &TestPool<'_>, shared: &[AtomicU64; SHARED], met: &Met, seed: u64, done: &Signal) {
    let len = pool.geometry().page_size().bytes() / 3;
    let mut numbers = Numbers::new(seed);
    let mut buffer = vec![0; len];
    while !done.is_raised() {
        let at = &shared[numbers.below(SHARED)];
        let bytes = stamped(numbers.draw(), len);
        let Some(handle) = Handle::from_bits(at.load(Ordering::Acquire)) else {
            let new = pool.insert(&bytes).expect("room");
            if let Some(before) = Handle::from_bits(at.swap(new.to_bits(), Ordering::AcqRel)) {
                // Mapped by somebody: it stays, for the end of the pool.
                let _ = pool.free(before);
            }
            continue;
        };
        let (what, outcome) = match numbers.below(8) {
            0 => ("replaced", pool.replace(handle, &bytes).map(|_| ())),
            1 | 2 => ("written", pool.write(handle, 0, &bytes)),
            3 => {
                let mapping = pool.map(handle, MapMode::ReadWrite, &mut buffer);
                let write = |mut mapping: zsmalloc::Mapping<'_, '_, _, _>| {
                    whole(&mapping);
                    mapping
                        .bytes_mut()
                        .expect("for writing")
                        .copy_from_slice(&bytes);
                };
                ("mapped", mapping.map(write))
            }
            4 if at
                .compare_exchange(handle.to_bits(), 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok() =>
            {
                let guard = pool.read(handle);
                let freed = pool.free(handle);
                let read = |guard: zsmalloc::ReadGuard<'_, _, _>| {
                    whole(&[guard.spans().first, guard.spans().second].concat());
                };
                ("freed with a reader", freed.and(guard.map(read)))
            }
            _ => {
                let read = |guard: zsmalloc::ReadGuard<'_, _, _>| {
                    whole(&[guard.spans().first, guard.spans().second].concat());
                };
                ("read", pool.read(handle).map(read))
            }
        };
        match outcome {
            Ok(()) => met.add(what, 1),
            Err(Error::Stale | Error::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Moves every frame to the zone; counts what came of it.
fn all_to(pool: &TestPool<'_>, zone: ZoneId, mode: MigrateMode, met: &Met) -> MigrateReport {
    let arena = pool.arena();
    let frames = owned(arena);
    let options = MigrateOptions::new(mode);
    let report = arena.migrate_pages(&frames, &[pool], &mut InZone(arena, zone), options, &mut []);
    met.add("moved", report.moved);
    met.add("tried again", report.retried);
    let draining = arena.zones().filter_map(|zone| arena.zone_moves(zone));
    met.add("draining", draining.map(|zone| zone.draining).sum());
    report
}

#[test]
fn contents_stay_whole_while_every_frame_moves_from_zone_to_zone() {
    for page in PageSize::ALL {
        let met = Met::of(&[
            "moved",
            "tried again",
            "draining",
            "read",
            "written",
            "mapped",
            "replaced",
            "freed with a reader",
            "compacted",
        ]);
        let (arena, _) = arena(page);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let len = page.bytes() / 3;
        let kept: Vec<_> = (0..300)
            .map(|n| pool.insert(&stamped(n, len)).expect("room"))
            .collect();
        let shared = [const { AtomicU64::new(0) }; SHARED];
        let (done, begun) = (Signal::default(), Instant::now());
        let enough = Duration::from_millis(scaled(1000));
        thread::scope(|scope| {
            let (shared, met, done) = (&shared, &met, &done);
            let workers =
                [1, 2, 3].map(|n| scope.spawn(move || disturb(pool, shared, met, n, done)));
            let mut round = 0;
            while begun.elapsed() < enough || !met.all() && round < 100 * MOST_ROUNDS {
                let mode = MODES[round as usize / 2 % 4];
                all_to(pool, ZoneId(1 - round as u32 % 2), mode, met);
                if round % 8 == 0 {
                    let report = pool.compact(zsmalloc::CompactBudget::objects(50));
                    met.add("compacted", report.objects_moved);
                    pool.trim();
                }
                round += 1;
            }
            done.raise();
            // By handle: ThreadSanitizer does not see the end of a scope.
            for worker in workers {
                worker.join().expect("no panic");
            }
        });
        for (n, &handle) in kept.iter().enumerate() {
            let guard = pool.read(handle).expect("live");
            let bytes = [guard.spans().first, guard.spans().second].concat();
            assert!(bytes == stamped(n as u64, len), "object {n}");
        }
        settled(&arena, &pools);
        assert!(met.all(), "{met:?} at {page}");
    }
}
