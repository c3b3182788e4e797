//! Pools: several on one arena, made, refused, destroyed, dropped.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::sync::Arc;
use zs_mm::{Arena, MAX_POOLS, PageSize};
use zs_model::{TestArena, World, pattern};
use zs_os::testing::{HeapBacking, TestHost};
use zs_os::{AnonBacking, HOST};
use zsmalloc::{Error, HandlePool, MAX_NAME, Pool, PoolOptions};

fn arena(page: PageSize) -> TestArena {
    World::arena(page, 8 << 20, 4096).expect("an arena").0
}

fn named(name: &str) -> PoolOptions<'_> {
    PoolOptions {
        max_objects: Some(2000),
        ..PoolOptions::named(name)
    }
}

#[test]
fn several_pools_share_an_arena_and_end_apart() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pools = ["a", "b", "c"].map(|name| Pool::new(&arena, named(name)).expect("a pool"));
        for (seed, pool) in pools.iter().enumerate() {
            for n in 0..30 {
                pool.insert(&pattern(seed as u64, 1 + n * page.bytes() / 64))
                    .expect("room");
            }
        }
        zs_model::sound(&arena, &pools).expect("sound");
        let [a, b, c] = pools;
        drop(b);
        let mut compared = 0;
        for (seed, pool) in [(0, &a), (2, &c)] {
            assert_eq!(
                pool.for_each(|_, guard| {
                    let bytes = [guard.spans().first, guard.spans().second].concat();
                    assert_eq!(bytes, pattern(seed, bytes.len()));
                    compared += 1;
                }),
                0
            );
        }
        assert_eq!(compared, 60);
        zs_model::sound(&arena, &[a, c]).expect("sound");
        arena.trim();
        arena.validate(0).expect("valid");
        assert_eq!((arena.frames_in_use(), arena.stats().cached), (0, 0));
        assert_eq!(arena.stats().held, arena.stats().metadata);
    }
}

#[test]
fn the_pools_of_an_arena_are_limited_and_their_ids_come_again() {
    let options = zs_mm::ArenaOptions::new(64 << 20);
    let arena = Arena::new(AnonBacking::new(), &HOST, options).expect("an arena");
    let tiny = PoolOptions {
        max_objects: Some(1),
        ..PoolOptions::named("tiny")
    };
    let mut pools: Vec<_> = (0..MAX_POOLS)
        .map(|_| Pool::new(&arena, tiny).expect("a pool"))
        .collect();
    let refused = Pool::new(&arena, tiny).map(|_| ());
    assert_eq!(
        refused,
        Err(Error::Invalid("the arena has no room for another pool"))
    );
    for at in [700, 64, 63, 1, 0] {
        pools.swap_remove(at).destroy().expect("empty");
        let pool = Pool::new(&arena, tiny).expect("an id is free again");
        let handle = pool.insert(&[1; 4096]).expect("room");
        pool.validate().expect("its frames are its own");
        pool.free(handle).expect("live");
        pools.push(pool);
    }
    assert!(Pool::new(&arena, tiny).is_err());
    drop(pools);
    arena.validate(0).expect("valid");
}

#[test]
fn a_pool_with_objects_is_not_destroyed_and_says_where_they_are() {
    let arena = arena(PageSize::K4);
    let pool = Pool::new(&arena, named("stubborn")).expect("a pool");
    let handles = [1, 32, 33, 4096, 4096].map(|len| pool.insert(&vec![1; len]).expect("room"));
    let refused = pool.destroy().expect_err("it holds objects");
    let text =
        "pool \"stubborn\" still holds 5 objects: 2 in class 32, 1 in class 64, 2 in class 4096";
    assert_eq!(refused.to_string(), text);
    assert_eq!(refused.report.objects(), 5);
    let classes: Vec<_> = refused.report.classes().collect();
    assert_eq!(classes, [(32, 2), (64, 1), (4096, 2)]);
    let pool = refused.pool;
    pool.validate().expect("as it was");
    for handle in handles {
        pool.free(handle).expect("still live");
    }
    pool.destroy().expect("empty");
    assert_eq!(arena.frames_in_use(), 0);
}

#[test]
fn dropping_a_pool_returns_everything_whatever_is_in_it() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let empty = arena.stats().held;
        for round in 0..3 {
            let pool = Pool::new(&arena, named("dropped")).expect("a pool");
            for n in 0..60 {
                let handle = pool.insert(&pattern(n, page.bytes() * (n as usize + 1) / 64));
                if n % 3 == round {
                    pool.free(handle.expect("room")).expect("live");
                }
            }
            let guard = pool.read(pool.insert(&[1]).expect("room")).expect("live");
            // A leaked guard keeps its object for ever; the drop takes it nevertheless.
            std::mem::forget(guard);
            drop(pool);
            assert_eq!(arena.frames_in_use(), 0);
            arena.trim();
            arena.validate(0).expect("valid");
        }
        // Descriptors and pageblock records stay: they are the arena's own.
        assert!(
            arena.stats().held <= empty + (64 << 10),
            "{:?}",
            arena.stats()
        );
    }
}

#[test]
fn options_out_of_bounds_are_refused_and_leave_nothing() {
    let arena = arena(PageSize::K4);
    let long = "n".repeat(MAX_NAME);
    let pool = Pool::new(&arena, named(&long)).expect("the longest name");
    assert_eq!(pool.name(), long);
    drop(pool);
    let too_long = "n".repeat(MAX_NAME + 1);
    for (name, max_objects) in [
        (&*too_long, Some(1)),
        ("none", Some(0)),
        ("all", Some(u32::MAX)),
    ] {
        let options = PoolOptions {
            max_objects,
            ..PoolOptions::named(name)
        };
        let refused = Pool::new(&arena, options).map(|_| ());
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    arena.validate(0).expect("valid");
    assert_eq!(arena.stats().held, arena.stats().metadata);
}

#[test]
fn max_objects_is_exact() {
    let arena = arena(PageSize::K4);
    for most in [1, 5, 511, 512, 513, 1025] {
        let options = PoolOptions {
            max_objects: Some(most),
            ..PoolOptions::named("counted")
        };
        let pool = Pool::new(&arena, options).expect("a pool");
        let handles: Vec<_> = (0..most)
            .map(|_| pool.insert(&[1; 8]).expect("room"))
            .collect();
        for round in 0..3 {
            assert_eq!(pool.insert(&[1; 8]), Err(Error::NoMemory), "{most} objects");
            assert_eq!(pool.stats().objects, u64::from(most));
            if round == 0 {
                pool.free(handles[most as usize / 2]).expect("live");
                pool.insert(&[2; 8]).expect("one is free again");
            }
            pool.validate().expect("valid");
        }
    }
}

#[test]
fn a_pool_owns_its_arena_or_shares_it() {
    fn works<A: zs_mm::ArenaRef>(pool: &HandlePool<A>) {
        let handle = pool.insert(&[3; 300]).expect("room");
        assert_eq!(pool.read(handle).expect("live").len(), 300);
    }
    let make = || {
        let options = zs_mm::ArenaOptions::new(4 << 20);
        Arena::new(HeapBacking::new(4096), TestHost::leak(0), options).expect("an arena")
    };
    works(&HandlePool::new(make(), named("owner")).expect("a pool"));
    let shared = Arc::new(make());
    let pools = [(); 2].map(|()| HandlePool::new(Arc::clone(&shared), named("sharer")));
    let [one, two] = pools.map(|pool| pool.expect("a pool"));
    works(&one);
    works(&two);
    drop(one);
    works(&two);
    drop(shared);
    works(&two);
    two.validate().expect("valid");
    let local = make();
    works(&HandlePool::new(&local, named("borrower")).expect("a pool"));
    assert_eq!(local.frames_in_use(), 0);
}
