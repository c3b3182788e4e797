//! Row M10: a scanner left its zone; scanners never met.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use crate::common::objects::{Objects, blocks_without, free_some};
use crate::common::{Random, at_every_size, check, still_host};
use zs_mm::{
    Arena, ArenaOptions, Backing, CompactEnd, CompactOptions, CompactReport, FrameId, MigrateMode,
    ZoneId, ZoneSpecs,
};
use zs_os::testing::{FaultBacking, StrictBacking};

type Tested = Arena<FaultBacking<StrictBacking>>;

/// Where each object is.
fn places(objects: &Objects<'_, impl Backing>) -> Vec<Option<FrameId>> {
    (0..objects.slots())
        .map(|slot| objects.frame(slot))
        .collect()
}

/// One call with a small budget: what moved went down, and stayed in its zone.
fn compact_a_little(
    arena: &Tested,
    objects: &Objects<'_, impl Backing>,
    zone: ZoneId,
) -> CompactReport {
    let range = arena.zone_frames(zone).expect("a zone");
    let before = places(objects);
    let budget = CompactOptions {
        frames: arena.options().page_size.frames_per_block() as u64 / 3,
        ..CompactOptions::new(MigrateMode::SyncLight)
    };
    let report = arena
        .compact_zone(zone, &[objects], budget)
        .expect("online");
    assert!(report.frames_moved <= budget.frames, "{report:?}");
    let mut moved = 0;
    for (before, after) in before.into_iter().zip(places(objects)) {
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        let is_there = range.contains(&before);
        assert_eq!(is_there, range.contains(&after), "its zone");
        assert!(after == before || is_there && after < before, "down");
        moved += u64::from(after != before);
    }
    assert_eq!(moved, report.frames_moved);
    report
}

/// The scanners meet in exactly one of the calls of a pass, and the next pass finds nothing to do.
#[test]
fn they_meet_once_and_each_stays_in_its_zone() {
    at_every_size(|page, granule| {
        let options = ArenaOptions {
            zones: ZoneSpecs::normal(2),
            ..crate::common::blocks(page, 16)
        };
        let arena =
            crate::common::arena(StrictBacking::with_granule(granule), still_host(), options);
        let in_block = page.frames_per_block();
        let objects = Objects::full(&arena, 15 * in_block);
        free_some(&objects, 75, &mut Random(granule as u64 + 1));
        let count = objects.check();
        for zone in arena.zones() {
            let (mut total, mut calls) = (CompactReport::default(), 0);
            while !total.met() {
                let report = compact_a_little(&arena, &objects, zone);
                assert!(
                    report.met() || report.end == CompactEnd::Budget,
                    "{report:?}"
                );
                assert_eq!(objects.check(), count);
                total.add(&report);
                calls += 1;
                assert!(calls < 10_000, "the scanners meet");
            }
            assert!(
                calls > 1 && total.frames_failed == 0,
                "{calls} calls: {total:?}"
            );
            let range = arena.zone_frames(zone).expect("a zone");
            let in_zone = places(&objects).into_iter().flatten();
            let in_zone = in_zone.filter(|frame| range.contains(frame)).count();
            let possible = 8 - in_zone.div_ceil(in_block);
            let blocks = arena.blocks().filter(|block| block.zone == zone);
            let free = blocks.filter(|block| block.in_use() == 0).count();
            // The last block of all was never opened.
            assert!(free + 1 >= possible, "{free} of {possible}: {total:?}");
            let again = compact_a_little(&arena, &objects, zone);
            assert_eq!((again.end, again.frames_moved), (CompactEnd::Met, 0));
            check(&arena, 0);
        }
        assert!(blocks_without(&objects, 16) >= 10);
    });
}
