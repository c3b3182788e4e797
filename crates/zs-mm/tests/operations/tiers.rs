//! Zones of several kinds: the better one first, however frames come and go; huge pages by whole
//! blocks.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use crate::common::{alloc_up_to, at_every_size, check, free_all, still_host};
use zs_mm::{Advice, Arena, ArenaOptions, BLOCK_BYTES, Frame, RegionKind};
use zs_mm::{ZoneKind, ZoneSpec, ZoneSpecs};
use zs_os::testing::{
    Call, Fault, FaultBacking, HeapBacking, Recorded, Recording, RecordingBacking,
};

const NORMAL: ZoneSpec = ZoneSpec::new(ZoneKind::Normal);
const COLD: ZoneSpec = ZoneSpec {
    share: 3,
    ..ZoneSpec::new(ZoneKind::File)
};

fn below(frames: &[Frame], end: usize) -> usize {
    let is_below = |frame: &&Frame| frame.id().index() < end;
    frames.iter().filter(is_below).count()
}

#[test]
fn a_frame_of_a_lower_tier_is_not_handed_out_while_a_better_one_is_free() {
    at_every_size(|page, granule| {
        let options = ArenaOptions {
            zones: ZoneSpecs::new(&[NORMAL, COLD]),
            ..crate::common::blocks(page, 8)
        };
        let arena = crate::common::arena(HeapBacking::new(granule), still_host(), options);
        // A quarter.
        let first = 2 * page.frames_per_block();
        let mut frames = alloc_up_to(&arena, first);
        assert_eq!(below(&frames, first), first, "the first tier, whole");
        let cold = alloc_up_to(&arena, 50);
        assert_eq!(below(&cold, first), 0);
        // Cold ones go last of all, so that a cache would have them on top.
        free_all(&arena, frames.drain(..first / 2));
        free_all(&arena, cold);
        check(&arena, 0);
        let again = alloc_up_to(&arena, first / 2);
        assert_eq!(below(&again, first), first / 2, "none of the cold ones");
        free_all(&arena, frames.into_iter().chain(again));
        // Better ones that must be committed anew go before cold ones that need not.
        let mut frames = alloc_up_to(&arena, first + 50);
        let cold = frames.split_off(first);
        free_all(&arena, frames);
        arena.trim();
        free_all(&arena, cold);
        let again = alloc_up_to(&arena, first);
        assert_eq!(below(&again, first), first);
        free_all(&arena, again);
        check(&arena, 0);
    });
}

#[test]
fn a_lower_tier_has_what_the_limit_keeps_the_first_from_growing_by() {
    let options = ArenaOptions {
        zones: ZoneSpecs::new(&[NORMAL, COLD]),
        ..ArenaOptions::new(16 << 20)
    };
    let arena = crate::common::arena(HeapBacking::new(4096), still_host(), options);
    let mut frames = alloc_up_to(&arena, 1024 + 50);
    let cold = frames.split_off(1024);
    free_all(&arena, frames);
    arena.trim();
    free_all(&arena, cold);
    let stats = arena.stats();
    let charge = arena
        .charge(stats.limit - stats.held)
        .expect("all there is");
    let found = alloc_up_to(&arena, usize::MAX);
    assert_eq!((found.len(), below(&found, 1024)), (50, 0), "the cold ones");
    arena.uncharge(charge);
    let better = alloc_up_to(&arena, 1);
    assert_eq!(below(&better, 1024), 1);
    free_all(&arena, found.into_iter().chain(better));
    check(&arena, 0);
}

/// An arena of one huge zone, on a backing that keeps a list.
struct HugeArena {
    arena: Arena<FaultBacking<RecordingBacking<HeapBacking>>>,
    recording: Recording,
    /// The address of its payload.
    place: usize,
}

impl HugeArena {
    fn new(limit: u64) -> Self {
        let options = ArenaOptions {
            zones: ZoneSpecs::new(&[ZoneSpec::new(ZoneKind::Huge)]),
            ..ArenaOptions::new(limit)
        };
        let backing = RecordingBacking::new(HeapBacking::new(4096));
        let recording = backing.recording();
        let arena = crate::common::arena(backing, still_host(), options);
        let place = recording.take().iter().find_map(|call| match *call {
            Recorded::PlaceZone { place, .. } => Some(place),
            _ => None,
        });
        Self {
            arena,
            recording,
            place: place.expect("a zone was made"),
        }
    }

    /// What the backing was asked for payload since the last time.
    fn calls(&self) -> Vec<Recorded> {
        let is_payload = |call: &Recorded| match *call {
            Recorded::Commit { kind, .. } | Recorded::Decommit { kind, .. } => {
                kind == RegionKind::Payload
            }
            Recorded::Advise { .. } => true,
            _ => false,
        };
        self.recording
            .take()
            .into_iter()
            .filter(is_payload)
            .collect()
    }

    fn advise(&self, block: usize, advice: Advice) -> Recorded {
        Recorded::Advise {
            place: self.place + block * BLOCK_BYTES,
            len: BLOCK_BYTES,
            advice,
        }
    }

    fn commit(&self, block: usize, len: usize) -> Recorded {
        Recorded::Commit {
            kind: RegionKind::Payload,
            place: self.place + block * BLOCK_BYTES,
            len,
        }
    }
}

#[test]
fn a_huge_zone_is_committed_by_whole_blocks() {
    let huge = HugeArena::new(8 << 20);
    let arena = &huge.arena;
    let whole = |block| {
        [
            huge.advise(block, Advice::Huge),
            huge.commit(block, BLOCK_BYTES),
        ]
    };
    let mut frames = alloc_up_to(arena, 1);
    assert_eq!(huge.calls(), whole(0), "advised first, then committed");
    assert_eq!(arena.stats().cached, BLOCK_BYTES as u64 - 4096);
    check(arena, 0);
    frames.extend(alloc_up_to(arena, 511));
    assert_eq!(huge.calls(), []);
    frames.extend(alloc_up_to(arena, 1));
    assert_eq!(huge.calls(), whole(1));
    // The limit has room for less than the last block: that by small pages.
    frames.extend(alloc_up_to(arena, usize::MAX));
    let calls = huge.calls();
    assert_eq!(calls[..2], whole(2));
    let is_small =
        |call: &Recorded| matches!(call, Recorded::Commit { len, .. } if *len < BLOCK_BYTES);
    assert!(
        calls.len() > 2 && calls[2..].iter().all(is_small),
        "{calls:?}"
    );
    check(arena, 0);
    // A block of which anything is given back is small from then on.
    free_all(arena, frames.drain(600..700));
    arena.trim();
    assert_eq!(huge.calls().first(), Some(&huge.advise(1, Advice::Small)));
    check(arena, 0);
    free_all(arena, frames);
    arena.trim();
    check(arena, 0);
    assert_eq!(arena.stats().held, arena.stats().metadata);
}

#[test]
fn a_block_that_is_refused_is_advised_small_again() {
    let huge = HugeArena::new(8 << 20);
    let control = huge.arena.backing().control();
    free_all(&huge.arena, alloc_up_to(&huge.arena, 1));
    huge.arena.trim();
    huge.calls();
    control.set(Call::Commit, Fault::Nth(1));
    let frames = alloc_up_to(&huge.arena, 1);
    let expected = [
        huge.advise(0, Advice::Huge),
        huge.advise(0, Advice::Small),
        huge.commit(0, 4096),
    ];
    assert_eq!(huge.calls(), expected);
    assert_eq!(control.failed(Call::Commit), 1);
    free_all(&huge.arena, frames);
    check(&huge.arena, 0);
}
