//! Row M11: compaction ignored cancellation.

#![cfg(not(zs_loom))]

use crate::common::objects::{Objects, free_some};
use crate::common::{Random, check, still_host};
use std::sync::atomic::{AtomicU64, Ordering};
use zs_mm::{CompactEnd, CompactOptions, MigrateMode, PIECE, PageSize, ZoneId};
use zs_os::testing::StrictBacking;

#[test]
fn after_a_cancel_no_more_than_a_piece_is_moved() {
    for page in PageSize::ALL {
        let options = crate::common::blocks(page, 12);
        let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
        let objects = Objects::full(&arena, 11 * page.frames_per_block());
        free_some(&objects, 60, &mut Random(5));
        let count = objects.check();
        let moved = || arena.zone_moves(ZoneId(0)).expect("a zone").moved_out;
        let mut last = None;
        for allowed in 0.. {
            let (asked, at_cancel) = (AtomicU64::new(0), AtomicU64::new(0));
            let go_on = || {
                let go_on = asked.fetch_add(1, Ordering::Relaxed) < allowed;
                if !go_on {
                    at_cancel.store(moved(), Ordering::Relaxed);
                }
                go_on
            };
            let options = CompactOptions {
                go_on: &go_on,
                ..CompactOptions::new(MigrateMode::Async)
            };
            let before = moved();
            let report = arena.compact_zone(ZoneId(0), &[&objects], options);
            let report = report.expect("online");
            assert_eq!(report.frames_moved, moved() - before);
            assert_eq!(objects.check(), count);
            check(&arena, 0);
            last = Some(report.end);
            if report.met() {
                break;
            }
            assert_eq!(report.end, CompactEnd::Stopped);
            let asked = asked.load(Ordering::Relaxed);
            assert_eq!(asked, allowed + 1, "a no is not asked again");
            assert_eq!(
                moved(),
                at_cancel.load(Ordering::Relaxed),
                "nothing after it"
            );
            assert!(report.frames_moved <= allowed * PIECE as u64, "{report:?}");
        }
        assert_eq!(
            last,
            Some(CompactEnd::Met),
            "cancelled calls go on where they were"
        );
    }
}
