//! Row M10: a scanner left its zone; scanners never met.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

mod common;

use common::objects::{Objects, blocks_without, free_some};
use common::{Random, at_every_size, check, still_host};
use zs_mm::{
    ArenaOptions, CompactEnd, CompactOptions, CompactReport, FrameId, MigrateMode, ZoneId,
    ZoneSpecs,
};
use zs_os::testing::StrictBacking;

/// Calls with a small budget: each frame moves down, and stays in its zone; the scanners meet in exactly one of
/// the calls of a pass, and the next pass finds nothing to do.
#[test]
fn they_meet_once_and_each_stays_in_its_zone() {
    at_every_size(|page, granule| {
        let options = ArenaOptions {
            zones: ZoneSpecs::normal(2),
            ..common::blocks(page, 16)
        };
        let arena = common::arena(StrictBacking::with_granule(granule), still_host(), options);
        let in_block = page.frames_per_block();
        let objects = Objects::full(&arena, 15 * in_block);
        free_some(&objects, 75, &mut Random(granule as u64 + 1));
        let count = objects.check();
        let places = || -> Vec<Option<FrameId>> {
            (0..objects.slots())
                .map(|slot| objects.frame(slot))
                .collect()
        };
        for zone in arena.zones() {
            let range = arena.zone_frames(zone).expect("a zone");
            let budget = CompactOptions {
                frames: in_block as u64 / 3,
                ..CompactOptions::new(MigrateMode::SyncLight)
            };
            let mut total = CompactReport::default();
            let mut calls = 0;
            while !total.met() {
                let before = places();
                let report = arena
                    .compact_zone(zone, &[&objects], budget)
                    .expect("online");
                assert!(report.frames_moved <= budget.frames, "{report:?}");
                assert!(
                    report.met() || report.end == CompactEnd::Budget,
                    "{report:?}"
                );
                let mut moved = 0;
                for (before, after) in before.into_iter().zip(places()) {
                    let (Some(before), Some(after)) = (before, after) else {
                        continue;
                    };
                    let is_there = range.contains(&before);
                    assert_eq!(is_there, range.contains(&after), "its zone");
                    assert!(after == before || is_there && after < before, "down");
                    moved += u64::from(after != before);
                }
                assert_eq!(moved, report.frames_moved);
                assert_eq!(objects.check(), count);
                total.add(&report);
                calls += 1;
                assert!(calls < 10_000, "the scanners meet");
            }
            assert!(
                calls > 1 && total.frames_moved > 0 && total.frames_failed == 0,
                "{calls} calls: {total:?}, {page} {granule} {zone}"
            );
            let in_zone = places()
                .into_iter()
                .flatten()
                .filter(|frame| range.contains(frame));
            let possible = 8 - in_zone.count().div_ceil(in_block);
            let free = arena
                .pageblocks(zone)
                .expect("a zone")
                .filter(|block| block.in_use == 0);
            // The last block of the first zone's share may never have been opened.
            assert!(
                free.count() + 1 >= possible,
                "{zone}: of {possible}, {total:?}"
            );
            let again = arena
                .compact_zone(zone, &[&objects], budget)
                .expect("online");
            assert_eq!((again.end, again.frames_moved), (CompactEnd::Met, 0));
            check(&arena, 0);
        }
        assert!(blocks_without(&objects, 16) >= 10);
        assert_eq!(arena.zone_moves(ZoneId(0)).expect("a zone").isolated, 0);
    });
}
