//! Several zones: filled in order, counted exactly, each with its own frames.

#![cfg(not(zs_loom))]

mod common;

use common::{alloc_up_to, at_every_size, check, free_all, still_host};
use std::collections::HashSet;
use zs_mm::{ArenaOptions, Frame, PageSize, ZoneSpecs};
use zs_os::testing::{HeapBacking, StrictBacking};

fn numbers(frames: &[Frame]) -> HashSet<usize> {
    frames.iter().map(|frame| frame.id().index()).collect()
}

#[test]
fn the_second_zone_is_used_when_the_first_is_full() {
    at_every_size(|page, granule| {
        let options = ArenaOptions {
            zones: ZoneSpecs::normal(2),
            ..common::blocks(page, 4)
        };
        let arena = common::arena(HeapBacking::new(granule), still_host(), options);
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
                ..common::blocks(page, 5)
            };
            let arena = common::arena(StrictBacking::new(), still_host(), options);
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
