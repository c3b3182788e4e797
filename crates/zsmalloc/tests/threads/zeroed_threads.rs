//! With `zero_freed`, while objects come and go, are written to, replaced and compacted, and two
//! threads move their frames: in the end the payload has the bytes of live objects, and zeros.

#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

use std::thread;
use zs_mm::{
    Anywhere, ArenaOptions, Descriptor, FrameId, MigrateMode, MigrateOptions, Movable, PageSize,
};
use zs_model::{Numbers, Signal, TestArena, World, scaled, sound};
use zs_sync::{AtomicU64, Ordering};
use zsmalloc::{CompactBudget, Error, Handle, HandlePool, MapMode, Pool, PoolOptions};

type TestPool<'a> = HandlePool<&'a TestArena>;

/// Objects of a thread.
const OBJECTS: usize = 24;

/// Operations of a thread.
const ROUNDS: u64 = 500;

/// Objects that are one byte over and over, never 0.
fn bytes(numbers: &mut Numbers, longest: usize) -> Vec<u8> {
    vec![1 + numbers.below(255) as u8; 1 + numbers.below(longest)]
}

fn whole(spans: zsmalloc::Spans<'_>, expected: &[u8]) {
    let all = [spans.first, spans.second].concat();
    assert!(all == expected, "{all:?} is not {expected:?}");
}

/// Uses objects of its own in every way; returns what is left of them.
fn use_objects(pool: &TestPool<'_>, seed: u64) -> Vec<(Handle, Vec<u8>)> {
    let longest = pool.geometry().page_size().bytes();
    let mut numbers = Numbers::new(seed);
    let mut live: Vec<(Handle, Vec<u8>)> = Vec::new();
    let mut buffer = vec![0; longest];
    for _ in 0..scaled(ROUNDS) {
        let new = bytes(&mut numbers, longest);
        if live.len() < OBJECTS {
            live.push((pool.insert(&new).expect("room"), new));
            continue;
        }
        let at = numbers.below(live.len());
        let (handle, old) = &mut live[at];
        let outcome = match numbers.below(6) {
            0 => pool.replace(*handle, &new).map(|_| *old = new),
            1 => {
                let new = vec![new[0]; old.len()];
                pool.write(*handle, 0, &new).map(|()| *old = new)
            }
            2 => {
                let mapping = pool.map(*handle, MapMode::WriteOnly, &mut buffer);
                mapping.map(|mut mapping| {
                    *old = vec![new[0]; old.len()];
                    let bytes = mapping.bytes_mut().expect("for writing");
                    bytes.copy_from_slice(old);
                })
            }
            3 => pool.read(*handle).map(|guard| whole(guard.spans(), old)),
            4 => pool.free(*handle).map(|()| drop(live.swap_remove(at))),
            _ => {
                let guard = pool.read(*handle).expect("live");
                let freed = pool.free(*handle);
                thread::yield_now();
                whole(guard.spans(), old);
                live.swap_remove(at);
                freed
            }
        };
        match outcome {
            Ok(()) | Err(Error::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }
    live
}

/// Moves every frame; returns how many were moved, and how many had to be tried again.
fn move_all(arena: &TestArena, pool: &TestPool<'_>, mode: MigrateMode) -> [u64; 2] {
    let all = (0..).map(FrameId);
    let descriptors = all.map_while(|id| Some((id, arena.frame_descriptor(id)?)));
    let owned = descriptors.filter(|(_, found)| Descriptor::owner(*found).is_some());
    let frames: Vec<_> = owned.map(|(id, _)| id).collect();
    let options = MigrateOptions::new(mode);
    let report = arena.migrate_pages(&frames, &[pool], &mut Anywhere(arena), options, &mut []);
    [report.moved, report.retried]
}

/// Bytes of the whole payload that are not zero; nothing was decommitted before.
fn not_zero(arena: &TestArena) -> usize {
    let len = arena.options().limit as usize;
    // SAFETY: the heap backing's payload is readable throughout, and nobody writes to it now.
    let payload = unsafe { arena.payload().bytes(0, len) };
    payload.iter().filter(|&&byte| byte != 0).count()
}

/// Runs that one page size may take until every window was hit: which ones a run hits is up to the
/// scheduler.
const RUNS: usize = 60;

#[test]
fn only_live_objects_are_left_in_the_payload() {
    for page in PageSize::ALL {
        let met = [const { AtomicU64::new(0) }; 3];
        let all_met = || met.iter().all(|met| met.load(Ordering::Relaxed) > 0);
        for _ in 0..RUNS {
            users_and_movers(page, &met);
            if all_met() {
                break;
            }
        }
        assert!(all_met(), "{met:?} at {page}");
    }
}

/// Users and movers at work on one pool; then only live objects are left. `met` counts what was
/// moved, tried again, and compacted.
fn users_and_movers(page: PageSize, met: &[AtomicU64; 3]) {
    let options = ArenaOptions {
        page_size: page,
        ..ArenaOptions::new(32 << 20)
    };
    let (arena, _) = World::with_options(options, 4096).expect("an arena");
    let options = PoolOptions {
        zero_freed: true,
        ..PoolOptions::named("secrets")
    };
    let pools: [TestPool<'_>; 1] = [Pool::new(&arena, options).expect("a pool")];
    let [pool] = &pools;
    let done = Signal::default();
    let live = thread::scope(|scope| {
        let (arena, done) = (&arena, &done);
        let mover = |modes: [MigrateMode; 2]| {
            while !done.is_raised() {
                for mode in modes {
                    let report = move_all(arena, pool, mode);
                    for (met, number) in met.iter().zip(report) {
                        met.fetch_add(number, Ordering::Relaxed);
                    }
                }
                let compacted = pool.compact(CompactBudget::objects(20));
                met[2].fetch_add(compacted.objects_moved, Ordering::Relaxed);
            }
        };
        let users = [1, 2, 3].map(|n| scope.spawn(move || use_objects(pool, n)));
        let movers = [
            [MigrateMode::Async, MigrateMode::SyncNoCopy],
            [MigrateMode::Sync, MigrateMode::SyncLight],
        ]
        .map(|modes| scope.spawn(move || mover(modes)));
        let live = users.map(|user| user.join());
        done.raise();
        for mover in movers {
            mover.join().expect("no panic");
        }
        live.map(|live| live.expect("no panic"))
    });
    pool.drain();
    let live = live.concat();
    for (handle, bytes) in &live {
        whole(pool.read(*handle).expect("live").spans(), bytes);
    }
    let expected: usize = live.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(not_zero(&arena), expected, "at {page}");
    sound(&arena, &pools).expect("sound");
}
