//! The hard limit, and what an arena refuses to be.

#![cfg(not(zs_loom))]
#![expect(clippy::panic, reason = "helpers of tests, which end the test")]

use crate::common::{alloc_up_to, at_every_size, check, free_all, still_host};
use zs_mm::{
    Arena, ArenaOptions, Error, InvalidArena, MAX_ARENA_BYTES, PageSize, ZoneKind, ZoneSpec,
    ZoneSpecs,
};
use zs_os::AnonBacking;
use zs_os::testing::{HeapBacking, StrictBacking};

fn refusal(options: ArenaOptions) -> String {
    match Arena::new(StrictBacking::new(), still_host(), options) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{options:?} made an arena"),
    }
}

#[test]
fn limits_out_of_bounds_are_refused() {
    for page_size in PageSize::ALL {
        let with = |limit| ArenaOptions {
            page_size,
            ..ArenaOptions::new(limit)
        };
        assert_eq!(
            refusal(with((2 << 20) - 1)),
            "invalid arena options: a limit of 2097151 bytes is below one pageblock (2097152 bytes)"
        );
        assert_eq!(
            refusal(with(MAX_ARENA_BYTES + 1)),
            "invalid arena options: a limit of 1099511627777 bytes is above the largest arena \
             (1099511627776 bytes)"
        );
        assert!(Arena::new(StrictBacking::new(), still_host(), with(2 << 20)).is_ok());
        assert!(Arena::new(StrictBacking::new(), still_host(), with(MAX_ARENA_BYTES)).is_ok());
    }
}

#[test]
fn zones_out_of_bounds_are_refused() {
    for (zones, limit) in [(0, 8 << 20), (5, 64 << 20), (3, 4 << 20), (2, 2 << 20)] {
        let options = ArenaOptions {
            zones: ZoneSpecs::normal(zones),
            ..ArenaOptions::new(limit)
        };
        let expected = format!(
            "invalid arena options: {zones} zones: allowed are 1 to 4, and at most one for each \
             pageblock"
        );
        assert_eq!(refusal(options), expected);
    }
    let most = ArenaOptions {
        zones: ZoneSpecs::normal(4),
        ..ArenaOptions::new(8 << 20)
    };
    assert!(Arena::new(StrictBacking::new(), still_host(), most).is_ok());
    let shares = [1, 0].map(|share| ZoneSpec {
        share,
        ..ZoneSpec::new(ZoneKind::Normal)
    });
    let empty = ArenaOptions {
        zones: ZoneSpecs::new(&shares),
        ..ArenaOptions::new(8 << 20)
    };
    let expected = "invalid arena options: zone 1 has a share of 0: it must be at least 1";
    assert_eq!(refusal(empty), expected);
}

#[test]
fn zones_that_the_backing_does_not_make_are_refused() {
    let kinds = [ZoneKind::Huge, ZoneKind::Memfd, ZoneKind::File];
    let second = |kind, node| {
        let spec = ZoneSpec {
            node,
            ..ZoneSpec::new(kind)
        };
        let options = ArenaOptions {
            zones: ZoneSpecs::new(&[ZoneSpec::new(ZoneKind::Normal), spec]),
            ..ArenaOptions::new(8 << 20)
        };
        let refused = Arena::new(AnonBacking, still_host(), options);
        refused.expect_err("no such zone").to_string()
    };
    for kind in kinds {
        let expected = format!(
            "invalid arena options: zone 1 ({kind}): the backing makes no memory of this kind"
        );
        assert_eq!(second(kind, None), expected);
    }
    assert_eq!(
        second(ZoneKind::Normal, Some(3)),
        "invalid arena options: zone 1 (normal, node 3): the backing makes no memory of this kind \
         on a node of choice"
    );
}

#[test]
fn granules_out_of_bounds_are_refused() {
    for granule in [0, 3, 4097, 4 << 20] {
        let refused = Arena::new(
            HeapBacking::new(granule),
            still_host(),
            ArenaOptions::new(8 << 20),
        );
        let error = refused.expect_err("no such granule");
        assert_eq!(error, Error::Invalid(InvalidArena::Granule(granule)));
    }
}

#[test]
fn a_full_arena_says_so_and_loses_nothing() {
    at_every_size(|page, granule| {
        for odd in [0, 70_000, 1_000_000] {
            let options = ArenaOptions {
                limit: crate::common::blocks(page, 3).limit + odd,
                ..crate::common::blocks(page, 3)
            };
            let arena =
                crate::common::arena(StrictBacking::with_granule(granule), still_host(), options);
            let frames = alloc_up_to(&arena, usize::MAX);
            check(&arena, 0);
            let stats = arena.stats();
            let unit = granule.max(page.bytes()) as u64;
            // Room is left for less than a frame and the metadata of a new pageblock.
            let room = stats.limit - stats.held;
            assert!(
                room < unit + 2 * granule as u64,
                "{page} {granule}: {stats:?}"
            );
            assert_eq!(stats.cached, 0);
            let count = frames.len();
            let second = arena.alloc_frame().expect_err("still full");
            assert_eq!(second, Error::NoMemory);
            assert_eq!(arena.stats().held, stats.held, "a refusal takes nothing");
            free_all(&arena, frames);
            let frames = alloc_up_to(&arena, usize::MAX);
            assert_eq!(frames.len(), count, "all of it can be had again");
            free_all(&arena, frames);
            arena.trim();
            assert_eq!(arena.stats().held, arena.stats().metadata);
            let frames = alloc_up_to(&arena, usize::MAX);
            assert_eq!(frames.len(), count, "after a trim too");
            free_all(&arena, frames);
            check(&arena, 0);
        }
    });
}

#[test]
fn frames_in_other_cpus_caches_are_found() {
    for page in PageSize::ALL {
        let host = still_host();
        let arena =
            crate::common::arena(StrictBacking::new(), host, crate::common::blocks(page, 2));
        let mut frames = alloc_up_to(&arena, usize::MAX);
        let freed: Vec<_> = frames.drain(..20).collect();
        host.set_cpu(3);
        free_all(&arena, freed);
        assert_eq!(arena.stats().cached, 20 * page.bytes() as u64);
        host.set_cpu(5);
        let found = alloc_up_to(&arena, usize::MAX);
        assert_eq!(
            found.len(),
            20,
            "no memory only after all caches are drained"
        );
        free_all(&arena, frames.into_iter().chain(found));
        check(&arena, 0);
    }
}

#[test]
fn tables_and_charges_count_and_drain_the_caches() {
    at_every_size(|page, granule| {
        let backing = HeapBacking::new(granule);
        let arena = crate::common::arena(backing, still_host(), crate::common::blocks(page, 2));
        let table = arena
            .reserve_table::<zs_sync::AtomicU64>(1 << 20)
            .expect("addresses");
        let mut frames = alloc_up_to(&arena, usize::MAX);
        assert_eq!(arena.ensure(&table, 65_535), Err(Error::NoMemory));
        assert_eq!(arena.charge(1 << 20).expect_err("full"), Error::NoMemory);
        check(&arena, 0);
        // Half of the frames are free, but cached: what needs room takes theirs.
        let freed: Vec<_> = frames.drain(frames.len() / 2..).collect();
        free_all(&arena, freed);
        arena.ensure(&table, 65_535).expect("512 KiB are free");
        assert_eq!(table.committed_bytes(), 512 << 10);
        check(&arena, 512 << 10);
        let charge = arena.charge(1 << 20).expect("1 MiB is free");
        check(&arena, (512 << 10) + (1 << 20));
        arena.uncharge(charge);
        arena.release_table(table);
        check(&arena, 0);
        free_all(&arena, frames);
    });
}

#[test]
fn a_table_cannot_grow_beyond_its_end() {
    let arena = crate::common::arena(
        StrictBacking::new(),
        still_host(),
        ArenaOptions::new(8 << 20),
    );
    let table = arena
        .reserve_table::<zs_sync::AtomicU64>(100)
        .expect("addresses");
    let beyond = [100, 512, 513, 1 << 20, usize::MAX / 8, usize::MAX];
    for index in beyond {
        let grow = std::panic::AssertUnwindSafe(|| arena.ensure(&table, index));
        assert!(std::panic::catch_unwind(grow).is_err(), "index {index}");
    }
    arena.ensure(&table, 99).expect("the last cell");
    arena.release_table(table);
    for cells in [usize::MAX, usize::MAX / 8, usize::MAX / 8 + 2] {
        let table = arena.reserve_table::<zs_sync::AtomicU64>(cells);
        assert_eq!(table.err(), Some(Error::NoMemory), "{cells} cells");
    }
    check(&arena, 0);
}
