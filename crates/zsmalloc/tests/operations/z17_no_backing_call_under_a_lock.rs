//! Row Z17: the page allocator's backing is never called with a lock held. The backing of the tests
//! panics if it is; here it is shown that it would, and that every kind of call is made.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::thread;
use zs_mm::{ArenaOptions, PageSize};
use zs_model::{Numbers, Op, RunOptions, SlotTable, World, pattern, run, scaled};
use zs_os::testing::Call;
use zs_sync::{LockName, Mutex, may_call_out};
use zsmalloc::{HandleTable, Pool, PoolOptions};

fn world(page: PageSize) -> (zs_model::TestArena, World) {
    let options = ArenaOptions {
        page_size: page,
        huge_blocks: true,
        decay_ns: 1_000_000,
        ..ArenaOptions::new(8 << 20)
    };
    World::with_options(options, 4096).expect("an arena")
}

fn assert_called(world: &World) {
    for call in Call::ALL {
        assert!(world.faults.calls(call) > 0, "no {call:?}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn z17_a_held_lock_is_noticed() {
    let (arena, _) = world(PageSize::K4);
    let lock = Mutex::new(LockName::Class, ());
    assert!(may_call_out());
    let guard = lock.lock(arena.host());
    assert!(!may_call_out());
    drop(guard);
    assert!(may_call_out());
}

#[test]
fn z17_every_operation_calls_the_backing_with_no_lock_held() {
    for page in PageSize::ALL {
        let ops = Op::decode(&Numbers::new(17).bytes(6000));
        let (arena, handles) = world(page);
        run::<_, HandleTable>(&arena, &handles, &RunOptions::default(), &ops)
            .unwrap_or_else(|mismatch| panic!("{mismatch}"));
        let (arena, words) = world(page);
        run::<_, SlotTable>(&arena, &words, &RunOptions::default(), &ops)
            .unwrap_or_else(|mismatch| panic!("{mismatch}"));
        assert_called(&handles);
        assert_called(&words);
    }
}

#[test]
fn z17_threads_that_fill_empty_and_trim_call_it_with_no_lock_held() {
    for page in PageSize::ALL {
        let (arena, world) = world(page);
        let pool = Pool::new(&arena, PoolOptions::named("calls")).expect("a pool");
        thread::scope(|scope| {
            for seed in 0..3 {
                let (pool, world) = (&pool, &world);
                scope.spawn(move || {
                    let mut numbers = Numbers::new(seed);
                    for _ in 0..scaled(10) {
                        let handles: Vec<_> = (0..150)
                            .filter_map(|_| {
                                let len = 1 + numbers.below(page.bytes());
                                pool.insert(&pattern(seed, len)).ok()
                            })
                            .collect();
                        world.host.advance_ns(2_000_000);
                        handles
                            .into_iter()
                            .for_each(|handle| pool.free(handle).expect("mine"));
                        pool.trim();
                    }
                });
            }
        });
        assert_called(&world);
        pool.validate().expect("valid");
    }
}
