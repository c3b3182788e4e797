//! Handles: stale, forged, foreign, reused.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::collections::HashSet;
use zs_mm::{ArenaOptions, PageSize};
use zs_model::{Numbers, TestArena, World, scaled};
use zs_os::AnonBacking;
use zsmalloc::{Error, Handle, HandlePool, MapMode, Pool, PoolOptions};

fn arena() -> TestArena {
    World::arena(PageSize::K4, 8 << 20, 4096)
        .expect("an arena")
        .0
}

fn refuse(pool: &HandlePool<&TestArena>, handle: Handle) {
    let mut buffer = [0; 4096];
    assert_eq!(pool.read(handle).map(|_| ()), Err(Error::Stale));
    assert_eq!(pool.read_into(handle, &mut buffer), Err(Error::Stale));
    assert_eq!(pool.write(handle, 0, &[1]), Err(Error::Stale));
    assert_eq!(pool.replace(handle, &[1]), Err(Error::Stale));
    assert_eq!(pool.replace_wait(handle, &[1]), Err(Error::Stale));
    assert_eq!(pool.free(handle), Err(Error::Stale));
    for mode in [MapMode::ReadOnly, MapMode::ReadWrite, MapMode::WriteOnly] {
        assert_eq!(
            pool.map(handle, mode, &mut buffer).map(|_| ()),
            Err(Error::Stale)
        );
    }
}

/// The word that a handle names: its lower half.
fn index(handle: Handle) -> u32 {
    handle.to_bits() as u32
}

#[test]
fn a_freed_handle_is_refused_by_everything_also_when_its_word_is_reused() {
    let arena = arena();
    let options = PoolOptions {
        max_objects: Some(1),
        ..PoolOptions::named("one word")
    };
    let pool = Pool::new(&arena, options).expect("a pool");
    let mut seen = Vec::new();
    for round in 0..300_u32 {
        let handle = pool.insert(&round.to_le_bytes()).expect("room");
        seen.iter().for_each(|&old| refuse(&pool, old));
        assert!(!seen.contains(&handle), "a handle came twice");
        pool.free(handle).expect("live");
        refuse(&pool, handle);
        seen.push(handle);
    }
    let indices: HashSet<u32> = seen.into_iter().map(index).collect();
    assert_eq!(indices.len(), 1, "one word, reused");
}

#[test]
fn forged_handles_are_refused_unless_they_are_live() {
    let arena = arena();
    let pool = Pool::new(&arena, PoolOptions::named("forged")).expect("a pool");
    let live: HashSet<Handle> = (0..1000_u32)
        .map(|n| pool.insert(&n.to_le_bytes()).expect("room"))
        .collect();
    let mut numbers = Numbers::new(1);
    let one = live.iter().next().expect("some").to_bits();
    for n in 0..scaled(200_000) {
        // Any bits; right indices; a live handle with one bit wrong, and with several.
        let bits = match n % 4 {
            0 => numbers.draw(),
            1 => numbers.draw() << 32 | (1 + numbers.draw() % 1100),
            2 => one ^ 1 << (numbers.draw() % 64),
            _ => one ^ (numbers.draw() & numbers.draw() & numbers.draw()),
        };
        let Some(forged) = Handle::from_bits(bits).filter(|forged| !live.contains(forged)) else {
            continue;
        };
        assert_eq!(pool.read(forged).map(|_| ()), Err(Error::Stale), "{forged}");
        assert_eq!(pool.free(forged), Err(Error::Stale), "{forged}");
    }
    assert_eq!(pool.stats().objects, 1000);
    pool.validate().expect("valid");
    assert_eq!(Handle::from_bits(0), None);
}

#[test]
fn another_pools_handle_is_refused() {
    let arena = arena();
    let pools: Vec<_> = (0..40)
        .map(|_| Pool::new(&arena, PoolOptions::named("one of many")).expect("a pool"))
        .collect();
    let handles: Vec<_> = pools
        .iter()
        .map(|pool| pool.insert(&[1; 9]).expect("room"))
        .collect();
    for (at, pool) in pools.iter().enumerate() {
        for (other, &handle) in handles.iter().enumerate() {
            assert_eq!(
                index(handle),
                index(handles[0]),
                "the same word of each pool"
            );
            if at == other {
                assert_eq!(pool.read(handle).expect("its own").len(), 9);
            } else {
                refuse(pool, handle);
            }
        }
    }
}

/// Words go round: among the freed words of a page the one that was freed first is used first.
#[test]
fn freed_words_are_reused_first_in_first_out() {
    let arena = arena();
    let options = PoolOptions {
        max_objects: Some(512),
        ..PoolOptions::named("a page of words")
    };
    let pool = Pool::new(&arena, options).expect("a pool");
    let mut handles: Vec<_> = (0..512).map(|_| pool.insert(&[1]).expect("room")).collect();
    let distinct: HashSet<u32> = handles.iter().map(|&handle| index(handle)).collect();
    assert_eq!(distinct.len(), 512);
    assert_eq!(
        pool.insert(&[1]),
        Err(Error::NoMemory),
        "max_objects is reached"
    );
    let order: Vec<usize> = (0..512).map(|n| n * 37 % 512).collect();
    for &at in &order {
        pool.free(handles[at]).expect("live");
    }
    for &at in &order {
        let again = pool.insert(&[1]).expect("room");
        assert_eq!(index(again), index(handles[at]));
        assert_ne!(again, handles[at]);
        handles[at] = again;
    }
    // A word that was just freed is the last of the free ones to come again.
    for &handle in &handles[..100] {
        pool.free(handle).expect("live");
    }
    for _ in 0..1000 {
        let handle = pool.insert(&[1]).expect("room");
        pool.free(handle).expect("live");
        let next = pool.insert(&[1]).expect("room");
        assert_ne!(index(next), index(handle), "the very next");
        pool.free(next).expect("live");
    }
}

/// What happens when a word was reused 2^`generation_bits` times: the very first handle is the
/// same number as the last, and is accepted for the new object. At 1 TiB that is after 1024 reuses
/// of one word, and not one reuse earlier; at 8 MiB it would be after eight million.
#[test]
fn a_generation_wraps_after_all_its_reuses_and_no_earlier() {
    assert!(arena_layout_bits() >= 23);
    let Ok(arena) = zs_mm::Arena::new(AnonBacking::new(), &zs_os::HOST, ArenaOptions::new(1 << 40))
    else {
        // No address space of a TiB here: nothing to see.
        return;
    };
    let options = PoolOptions {
        max_objects: Some(1),
        ..PoolOptions::named("1 TiB")
    };
    let pool = Pool::new(&arena, options).expect("a pool");
    let bits = pool.layout().generation_bits();
    assert_eq!(bits, 10);
    let first = pool.insert(&[1]).expect("room");
    pool.free(first).expect("live");
    for reuse in 1..1_u32 << bits {
        let handle = pool.insert(&[2]).expect("room");
        assert_ne!(handle, first, "after {reuse} reuses");
        assert_eq!(
            pool.read(first).map(|_| ()),
            Err(Error::Stale),
            "after {reuse} reuses"
        );
        pool.free(handle).expect("live");
    }
    let same = pool.insert(&[3; 3]).expect("room");
    assert_eq!(same, first, "the generation has gone round");
    assert_eq!(pool.read(first).expect("taken for the new object").len(), 3);
}

fn arena_layout_bits() -> u32 {
    let arena = arena();
    let pool = Pool::new(&arena, PoolOptions::named("small")).expect("a pool");
    pool.layout().generation_bits()
}
