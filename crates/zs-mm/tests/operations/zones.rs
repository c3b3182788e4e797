//! Several zones: filled in order, counted exactly, each with its own frames.

#![cfg(not(zs_loom))]

use crate::common::{alloc_up_to, at_every_size, check, free_all, stamp, still_host};
use std::collections::HashSet;
use zs_mm::{ArenaOptions, Error, Frame, PageSize, ZoneId, ZoneSpecs};
use zs_os::testing::{HeapBacking, StrictBacking};

fn numbers(frames: &[Frame]) -> HashSet<usize> {
    frames.iter().map(|frame| frame.id().index()).collect()
}

#[test]
fn the_second_zone_is_used_when_the_first_is_full() {
    at_every_size(|page, granule| {
        let options = ArenaOptions {
            zones: ZoneSpecs::normal(2),
            ..crate::common::blocks(page, 4)
        };
        let arena = crate::common::arena(HeapBacking::new(granule), still_host(), options);
        let in_first = 2 * page.frames_per_block();
        let mut frames = alloc_up_to(&arena, in_first);
        assert_eq!(
            numbers(&frames),
            (0..in_first).collect(),
            "the first zone, whole"
        );
        check(&arena, 0);
        let more = alloc_up_to(&arena, 20);
        assert!(numbers(&more).iter().all(|&frame| frame >= in_first));
        // A frame goes back to its own zone, and is found there first.
        let returned = frames.swap_remove(in_first / 3);
        let id = returned.id();
        free_all(&arena, [returned]);
        check(&arena, 0);
        let again = alloc_up_to(&arena, 1);
        assert_eq!(again[0].id(), id);
        check(&arena, 0);
        free_all(&arena, again.into_iter().chain(more).chain(frames));
        check(&arena, 0);
    });
}

#[test]
fn counters_are_exact_over_all_zones() {
    for zones in 1..=4 {
        for page in PageSize::ALL {
            let options = ArenaOptions {
                zones: ZoneSpecs::normal(zones),
                ..crate::common::blocks(page, 5)
            };
            let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
            let bytes = page.bytes() as u64;
            let mut frames = alloc_up_to(&arena, usize::MAX);
            let count = frames.len() as u64;
            let stats = arena.stats();
            assert_eq!(stats.held, stats.metadata + count * bytes);
            assert_eq!(arena.frames_in_use(), count);
            // Every third goes back, from all zones.
            let mut number = 0;
            let is_third = |_: &mut Frame| {
                number += 1;
                number % 3 == 0
            };
            let freed: Vec<_> = frames.extract_if(.., is_third).collect();
            let free = freed.len() as u64 * bytes;
            free_all(&arena, freed);
            assert_eq!(arena.stats().cached, free);
            assert_eq!(arena.stats().held, stats.held);
            check(&arena, 0);
            assert_eq!(arena.stats().cached, free);
            assert_eq!(arena.trim(), free);
            assert_eq!(arena.stats().held, stats.held - free);
            check(&arena, 0);
            assert_eq!(arena.trim(), 0);
            free_all(&arena, frames);
            check(&arena, 0);
        }
    }
}

#[test]
fn a_frame_comes_from_the_zone_asked_for() {
    at_every_size(|page, granule| {
        let options = ArenaOptions {
            zones: ZoneSpecs::normal(3),
            ..crate::common::blocks(page, 6)
        };
        let arena = crate::common::arena(HeapBacking::new(granule), still_host(), options);
        let in_zone = 2 * page.frames_per_block();
        assert_eq!(arena.zones().collect::<Vec<_>>(), [0, 1, 2].map(ZoneId));
        let mut frames = Vec::new();
        for zone in [ZoneId(1), ZoneId(2), ZoneId(0)] {
            let range = arena.zone_frames(zone).expect("a zone");
            assert_eq!(range.end.0 - range.start.0, in_zone as u32);
            for _ in 0..in_zone / 2 {
                let frame = arena.alloc_frame_in(zone).expect("room");
                assert!(range.contains(&frame.id()), "{} of {zone}", frame.id());
                assert_eq!(arena.zone_of_frame(frame.id()), Some(zone));
                stamp(&arena, &frame, frame.id().0.into());
                frames.push(frame);
            }
            check(&arena, 0);
        }
        // The last zone is emptied into caches, and found there.
        let (last, rest): (Vec<_>, Vec<_>) = frames
            .into_iter()
            .partition(|frame| arena.zone_of_frame(frame.id()) == Some(ZoneId(2)));
        free_all(&arena, last);
        let again: Vec<_> = (0..in_zone)
            .map_while(|_| arena.alloc_frame_in(ZoneId(2)).ok())
            .collect();
        assert_eq!(again.len(), in_zone, "the whole zone");
        assert_eq!(arena.alloc_frame_in(ZoneId(2)).err(), Some(Error::NoMemory));
        again.into_iter().for_each(|frame| arena.free_frame(frame));
        free_all(&arena, rest);
        check(&arena, 0);
        assert_eq!(
            arena.alloc_frame_in(ZoneId(3)).err(),
            Some(Error::NoSuchZone(ZoneId(3)))
        );
        assert_eq!(
            arena.zone_frames(ZoneId(u32::MAX)).err(),
            Some(Error::NoSuchZone(ZoneId(u32::MAX)))
        );
        let end = arena.zone_frames(ZoneId(2)).expect("a zone").end;
        assert_eq!(arena.zone_of_frame(end), None);
    });
}

/// A zone with room gets memory although cached frames of another zone have taken the limit.
#[test]
fn a_zone_is_served_at_the_limit_of_the_arena() {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        reserve: Some(16 << 20),
        ..ArenaOptions::new(4 << 20)
    };
    let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
    let frames = alloc_up_to(&arena, usize::MAX);
    free_all(&arena, frames);
    let stats = arena.stats();
    assert!(
        stats.limit - stats.held < 3 * 4096 && stats.in_use == 0,
        "{stats:?}"
    );
    let frame = arena.alloc_frame_in(ZoneId(1)).expect("nothing is in use");
    assert_eq!(arena.zone_of_frame(frame.id()), Some(ZoneId(1)));
    arena.free_frame(frame);
    check(&arena, 0);
}
