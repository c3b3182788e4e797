//! Who owns a frame, and who is refused it.

#![cfg(not(zs_loom))]

use crate::common::{check, still_host};
use zs_mm::{ArenaOptions, Descriptor, Error, FrameId, FrameType, MAX_POOLS, PageSize};
use zs_os::testing::StrictBacking;

#[test]
fn a_wrong_owner_is_refused() {
    for page in PageSize::ALL {
        let arena = crate::common::arena(
            StrictBacking::new(),
            still_host(),
            crate::common::blocks(page, 2),
        );
        let (pool, other) = (arena.join().expect("a pool"), arena.join().expect("a pool"));
        let frame = arena.alloc_frame().expect("a frame");
        let id = frame.id();
        let unowned = arena.frame_descriptor(id).expect("in the arena");
        assert_eq!(unowned, Descriptor::UNOWNED);
        assert_eq!(
            arena.reclaim(id, &pool, pool.owner(9, 77, 3)),
            None,
            "nobody's yet"
        );
        assert_eq!(arena.assign(frame, &pool, pool.owner(9, 77, 3)), id);
        for (key, class, zspage, index) in [
            (&other, 9, 77, 3),
            (&pool, 8, 77, 3),
            (&pool, 9, 78, 3),
            (&pool, 9, 77, 4),
        ] {
            let claim = arena.reclaim(id, key, key.owner(class, zspage, index));
            assert_eq!(claim, None, "{key:?} {class} {zspage} {index}");
            let descriptor = arena.frame_descriptor(id).expect("in the arena");
            assert_eq!(descriptor.owner(), Some(pool.owner(9, 77, 3)));
            assert_eq!(descriptor.frame_type(), FrameType::Zspage);
        }
        let next = FrameId(id.0 + 1);
        assert_eq!(
            arena.reclaim(next, &pool, pool.owner(9, 77, 3)),
            None,
            "a free frame"
        );
        let frame = arena
            .reclaim(id, &pool, pool.owner(9, 77, 3))
            .expect("the owner gets it");
        assert_eq!(
            arena.reclaim(id, &pool, pool.owner(9, 77, 3)),
            None,
            "but once"
        );
        arena.free_frame(frame);
        assert_eq!(
            arena.reclaim(id, &pool, pool.owner(9, 77, 3)),
            None,
            "nor when it is free"
        );
        assert_eq!(arena.frame_descriptor(id), Some(Descriptor::FREE));
        check(&arena, 0);
    }
}

/// The descriptor table is committed as it grows; on the strict backing a write beyond faults.
#[test]
fn frames_that_were_never_used_read_as_free() {
    let arena = crate::common::arena(
        StrictBacking::new(),
        still_host(),
        ArenaOptions::new(64 << 20),
    );
    let pool = arena.join().expect("a pool");
    let frames = (64 << 20) / 4096;
    for id in [0, 1, 511, 512, frames / 2, frames - 1].map(FrameId) {
        assert_eq!(arena.frame_descriptor(id), Some(Descriptor::FREE));
        assert_eq!(arena.reclaim(id, &pool, pool.owner(0, 0, 0)), None);
    }
    for id in [frames, u32::MAX].map(FrameId) {
        assert_eq!(arena.frame_descriptor(id), None);
        assert_eq!(arena.reclaim(id, &pool, pool.owner(0, 0, 0)), None);
    }
    assert_eq!(arena.stats().held, arena.stats().metadata);
    check(&arena, 0);
}

#[test]
fn pool_ids_are_lowest_first_and_bounded() {
    let arena = crate::common::arena(
        StrictBacking::new(),
        still_host(),
        ArenaOptions::new(8 << 20),
    );
    let mut pools: Vec<_> = (0..MAX_POOLS)
        .map(|_| arena.join().expect("an id"))
        .collect();
    assert_eq!(arena.join(), Err(Error::TooManyPools));
    let different: std::collections::HashSet<_> = pools.iter().map(|key| key.pool()).collect();
    assert_eq!(different.len(), MAX_POOLS);
    let high = pools.remove(900);
    let low = pools.remove(70);
    let numbers = (low.pool(), high.pool());
    arena.leave(high);
    arena.leave(low);
    let again = (arena.join().expect("an id"), arena.join().expect("an id"));
    assert_eq!((again.0.pool(), again.1.pool()), numbers);
    assert_eq!(arena.join(), Err(Error::TooManyPools));
}

/// What one arena gave another refuses, in release builds too.
#[test]
fn nothing_passes_from_arena_to_arena() {
    type TestArena = zs_mm::Arena<zs_os::testing::FaultBacking<StrictBacking>>;
    fn refuses(what: &str, misuse: impl FnOnce(&TestArena, &TestArena)) {
        let options = ArenaOptions::new(8 << 20);
        let one = crate::common::arena(StrictBacking::new(), still_host(), options);
        let other = crate::common::arena(StrictBacking::new(), still_host(), options);
        let misuse = std::panic::AssertUnwindSafe(|| misuse(&one, &other));
        let panic = std::panic::catch_unwind(misuse).expect_err(what);
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        assert!(
            text.is_some_and(|text| text.contains("another arena")),
            "{what}"
        );
    }
    refuses("a frame", |one, other| {
        other.free_frame(one.alloc_frame().expect("room"));
    });
    refuses("a key", |one, other| other.leave(one.join().expect("room")));
    refuses("a charge", |one, other| {
        other.uncharge(one.charge(64).expect("room"));
    });
    refuses("a table", |one, other| {
        other.release_table(one.reserve_table::<zs_sync::AtomicU64>(8).expect("room"));
    });
    refuses("a table's growth", |one, other| {
        let table = one.reserve_table::<zs_sync::AtomicU64>(8).expect("room");
        let _ = other.ensure(&table, 0);
    });
}
