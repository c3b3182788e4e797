//! Every commit, decommit and reservation of a fixed scenario fails in turn: nothing is lost or
//! changed, everything adds up after each step, and everything works when the fault is lifted.

use zs_mm::{Arena, ArenaOptions, Error, PageSize};
use zs_model::{Numbers, Op, Report, RunOptions, TestArena, World, pattern, run, sound};
use zs_os::testing::{
    Call, Fault, FaultBacking, HeapBacking, Recorded, RecordingBacking, TestHost,
};
use zsmalloc::{HandlePool, HandleTable, PoolOptions};

/// Some 200 operations, trims among them, and none that sets or lifts a fault.
fn scenario() -> Vec<Op> {
    let decoded = Op::decode(&Numbers::new(12_345).bytes(1100)).into_iter();
    let mut ops: Vec<Op> = decoded
        .filter(|op| {
            !matches!(
                op,
                Op::FailCommit { .. } | Op::FailDecommit { .. } | Op::ClearFault
            )
        })
        .collect();
    for at in (10..ops.len()).step_by(25) {
        ops[at] = Op::Trim { pool: 0 };
    }
    ops
}

fn options(page: PageSize) -> ArenaOptions {
    ArenaOptions {
        page_size: page,
        ..ArenaOptions::new(2 << 20)
    }
}

/// Runs the scenario under a fault; returns the report, and how many calls failed.
fn run_under(page: PageSize, call: Call, fault: Fault, ops: &[Op]) -> (Report, u64) {
    let options = options(page);
    let (arena, world) = match World::with_fault(options, 4096, call, fault) {
        Ok(made) => made,
        Err(error) => {
            assert_eq!(error, Error::NoMemory, "{fault:?}");
            return (Report::default(), 1);
        }
    };
    let report = run::<_, HandleTable>(&arena, &world, &RunOptions::default(), ops)
        .unwrap_or_else(|mismatch| panic!("{call:?} {fault:?} at {page}: {mismatch}"));
    (report, world.faults.failed(call))
}

/// Fails the n-th call for each n until there is none; then every k-th, and all.
fn fail_in_turn(call: Call) {
    let ops = scenario();
    assert!(ops.len() > 180, "{} operations", ops.len());
    for page in PageSize::ALL {
        let mut n = 1;
        let report = loop {
            match run_under(page, call, Fault::Nth(n), &ops) {
                (report, 0) => break report,
                _ => n += 1,
            }
        };
        let moved = [report.moved, report.migrated, report.drained];
        assert!(moved.iter().all(|&count| count > 0), "{report:?}");
        assert!(n > 5, "{n} calls: the scenario meets what it is about");
        for k in 1..=6 {
            let (_, failed) = run_under(page, call, Fault::Every(k), &ops);
            assert!(failed > 0 || k >= n, "every {k}th at {page}");
            run_under(page, call, Fault::From(k), &ops);
        }
    }
}

#[test]
fn any_commit_may_fail() {
    fail_in_turn(Call::Commit);
}

#[test]
fn any_decommit_may_fail() {
    fail_in_turn(Call::Decommit);
}

#[test]
fn any_reservation_may_fail() {
    fail_in_turn(Call::Reserve);
}

/// What is reserved is released, whichever reservation of arena and pools failed.
#[test]
fn a_failed_reservation_leaks_no_other() {
    for n in 1..=12 {
        let recorder = RecordingBacking::new(HeapBacking::new(4096));
        let recording = recorder.recording();
        let backing = FaultBacking::new(recorder);
        let control = backing.control();
        control.set(Call::Reserve, Fault::Nth(n));
        if let Ok(arena) = Arena::new(backing, TestHost::leak(0), options(PageSize::K4)) {
            let made = [(); 2].map(|()| HandlePool::new(&arena, PoolOptions::named("pool")));
            let left = arena.stats();
            if made.iter().all(Result::is_err) {
                assert_eq!(left.held, left.metadata);
            }
        }
        let calls = recording.take();
        let count = |reserved: bool| {
            let is = |call: &&Recorded| match call {
                Recorded::Reserve { .. } => reserved,
                Recorded::Release { .. } => !reserved,
                _ => false,
            };
            calls.iter().filter(is).count()
        };
        assert_eq!(count(true), count(false), "the {n}th reservation failed");
    }
}

/// An arena and a pool in it that has nothing yet, no memory for a word either.
fn with_pool(page: PageSize, test: impl FnOnce(&World, &[HandlePool<&TestArena>; 1])) {
    let (arena, world) = World::arena(page, 4 << 20, 4096).expect("an arena");
    let pools = [HandlePool::new(&arena, PoolOptions::named("half")).expect("a pool")];
    test(&world, &pools);
    sound(&arena, &pools).expect("sound");
}

/// A failure half-way through an insert leaves all as it was, and the next try works.
#[test]
fn an_insert_that_fails_half_way_leaves_all_as_it_was() {
    for page in PageSize::ALL {
        let mut hits = 0;
        for n in 1..10 {
            with_pool(page, |world, pools| {
                let [pool] = pools;
                world.faults.set(Call::Commit, Fault::From(n));
                let first = pool.insert(&pattern(1, page.bytes()));
                if first.is_err() {
                    hits += 1;
                    assert_eq!(first, Err(zsmalloc::Error::NoMemory));
                    let stats = pool.stats();
                    assert_eq!((stats.objects, stats.frames, stats.zspages), (0, 0, 0));
                    sound(pool.arena(), pools).expect("sound");
                }
                world.faults.clear();
                let handle = pool.insert(&pattern(2, 77)).expect("no fault");
                assert_eq!(
                    pool.read(handle).expect("live").spans().first,
                    pattern(2, 77)
                );
            });
        }
        assert!(hits >= 5, "{hits} commits make a first insert at {page}");
    }
}

/// A replace that finds no memory leaves the old bytes, and the next try works.
#[test]
fn a_replace_that_fails_half_way_leaves_the_old_bytes() {
    for page in PageSize::ALL {
        with_pool(page, |world, pools| {
            let [pool] = pools;
            let handle = pool.insert(&[7; 5]).expect("room");
            for seed in 1..100 {
                let len = 1 + (seed as usize * page.bytes() / 100);
                pool.trim();
                world.faults.set(Call::Commit, Fault::From(1));
                let before = pool.stats();
                let bytes = pattern(seed, len);
                let refused = pool.replace(handle, &bytes);
                assert_eq!(refused, Err(zsmalloc::Error::NoMemory), "another class");
                assert_eq!(pool.stats().payload_bytes, before.payload_bytes);
                assert_eq!(pool.stats().frames, before.frames);
                sound(pool.arena(), pools).expect("sound");
                world.faults.clear();
                pool.replace(handle, &bytes).expect("no fault");
                let guard = pool.read(handle).expect("live");
                assert_eq!([guard.spans().first, guard.spans().second].concat(), bytes);
            }
        });
    }
}

/// What is counted as held is what the backing has committed, also when it refuses to take it back.
#[test]
fn held_is_what_the_backing_has_committed() {
    for page in PageSize::ALL {
        let recorder = RecordingBacking::new(HeapBacking::new(4096));
        let recording = recorder.recording();
        let backing = FaultBacking::new(recorder);
        let control = backing.control();
        let arena = Arena::new(backing, TestHost::leak(0), options(page)).expect("an arena");
        let pool = HandlePool::new(&arena, PoolOptions::named("held")).expect("a pool");
        let mut committed = 0;
        for round in 1..40 {
            let fill = |seed| pool.insert(&pattern(seed, page.bytes())).ok();
            let handles: Vec<_> = (0..round).filter_map(fill).collect();
            handles
                .into_iter()
                .for_each(|handle| pool.free(handle).expect("live"));
            control.set(Call::Decommit, Fault::Every(1 + round % 3));
            pool.trim();
            for call in recording.take() {
                match call {
                    Recorded::Commit { len, .. } => committed += len as u64,
                    Recorded::Decommit { len, .. } => committed -= len as u64,
                    _ => {}
                }
            }
            let structures = size_of_val(&arena) as u64 + pool.metadata().structure;
            let held = arena.stats().held - structures;
            assert_eq!(held, committed, "round {round} at {page}");
        }
        assert!(
            control.failed(Call::Decommit) > 10,
            "decommits were refused"
        );
    }
}
