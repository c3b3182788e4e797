//! When a pageblock is advised huge, and when small again.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use crate::common::{alloc_up_to, at_every_size, check, free_all, still_host};
use zs_mm::{Advice, ArenaOptions, BLOCK_BYTES, Frame, RegionKind};
use zs_os::testing::{Call, Fault, HeapBacking, Recorded, Recording, RecordingBacking};

/// What happened to payload, by pageblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Commit,
    Decommit,
    Advise(Advice),
}

struct Payload {
    place: usize,
    recording: Recording,
}

impl Payload {
    /// The address of payload, from the first recorded calls.
    fn new(recording: Recording) -> Self {
        let find = |call: &Recorded| match *call {
            Recorded::Reserve {
                kind: RegionKind::Payload,
                place,
                ..
            } => Some(place),
            _ => None,
        };
        let place = recording.take().iter().find_map(find);
        Self {
            place: place.expect("payload was reserved"),
            recording,
        }
    }

    fn events(&self) -> Vec<(usize, Event)> {
        let event = |call: Recorded| match call {
            Recorded::Commit {
                kind: RegionKind::Payload,
                place,
                ..
            } => Some((place, Event::Commit)),
            Recorded::Decommit {
                kind: RegionKind::Payload,
                place,
                ..
            } => Some((place, Event::Decommit)),
            Recorded::Advise { place, len, advice } => {
                assert_eq!(len, BLOCK_BYTES);
                assert_eq!(place % BLOCK_BYTES, 0);
                Some((place, Event::Advise(advice)))
            }
            _ => None,
        };
        let calls = self.recording.take().into_iter().filter_map(event);
        calls
            .map(|(place, event)| ((place - self.place) / BLOCK_BYTES, event))
            .collect()
    }
}

#[test]
fn only_full_blocks_are_huge_and_none_that_is_given_back() {
    at_every_size(|page, granule| {
        let options = ArenaOptions {
            huge_blocks: true,
            ..crate::common::blocks(page, 4)
        };
        let backing = RecordingBacking::new(HeapBacking::new(granule));
        let recording = backing.recording();
        let arena = crate::common::arena(backing, still_host(), options);
        let payload = Payload::new(recording);
        let in_block = page.frames_per_block();

        // So far from full that no cache can make up for it (a cached frame counts as taken).
        let mut frames = alloc_up_to(&arena, in_block.saturating_sub(40));
        check(&arena, 0);
        let is_huge = |&(_, event): &(usize, Event)| event == Event::Advise(Advice::Huge);
        assert!(in_block <= 40 || !payload.events().iter().any(is_huge));
        frames.extend(alloc_up_to(&arena, in_block + 45));
        let advised: Vec<_> = payload.events().into_iter().filter(is_huge).collect();
        assert!(advised.contains(&(0, Event::Advise(Advice::Huge))));

        // The first block goes.
        let (first, rest): (Vec<Frame>, Vec<Frame>) = frames
            .into_iter()
            .partition(|frame| frame.id().index() < in_block);
        assert_eq!(first.len(), in_block);
        free_all(&arena, first);
        payload.events();
        arena.trim();
        let events = payload.events();
        let of_first: Vec<_> = events.iter().filter(|(block, _)| *block == 0).collect();
        assert_eq!(
            *of_first[0],
            (0, Event::Advise(Advice::Small)),
            "before the first decommit"
        );
        assert_eq!(
            of_first
                .iter()
                .filter(|(_, event)| *event == Event::Advise(Advice::Small))
                .count(),
            1
        );
        assert!(of_first.iter().any(|(_, event)| *event == Event::Decommit));
        check(&arena, 0);
        free_all(&arena, rest);
        arena.trim();
        check(&arena, 0);
    });
}

/// Memory that the system refuses to take back is committed and free: all of the block is there,
/// but not all of it is in use.
#[test]
fn a_block_with_free_frames_is_not_advised_again() {
    at_every_size(|page, granule| {
        if page.frames_per_block() < 64 {
            // A cache takes half of the block, and what it has is in use.
            return;
        }
        let options = ArenaOptions {
            huge_blocks: true,
            ..crate::common::blocks(page, 3)
        };
        let backing = RecordingBacking::new(HeapBacking::new(granule));
        let recording = backing.recording();
        let arena = crate::common::arena(backing, still_host(), options);
        let payload = Payload::new(recording);
        let frames = alloc_up_to(&arena, page.frames_per_block());
        let (freed, rest): (Vec<Frame>, Vec<Frame>) = frames
            .into_iter()
            .partition(|frame| frame.id().index() < page.frames_per_block() / 2);
        free_all(&arena, freed);
        let control = arena.backing().control();
        control.set(Call::Decommit, Fault::From(1));
        assert_eq!(arena.trim(), 0);
        control.clear();
        payload.events();
        let again = alloc_up_to(&arena, 1);
        assert_eq!(payload.events(), [], "neither a commit nor an advice");
        // When the other half is in use again, it is.
        let others = alloc_up_to(&arena, page.frames_per_block() / 2 - 1);
        assert_eq!(payload.events(), [(0, Event::Advise(Advice::Huge))]);
        free_all(&arena, again.into_iter().chain(others).chain(rest));
        arena.trim();
        check(&arena, 0);
    });
}

#[test]
fn without_the_option_no_block_is_advised() {
    let backing = RecordingBacking::new(HeapBacking::new(4096));
    let recording = backing.recording();
    let arena = crate::common::arena(backing, still_host(), ArenaOptions::new(8 << 20));
    let payload = Payload::new(recording);
    let frames = alloc_up_to(&arena, usize::MAX);
    free_all(&arena, frames);
    arena.trim();
    let is_advice = |(_, event): &(usize, Event)| matches!(event, Event::Advise(_));
    assert!(!payload.events().iter().any(is_advice));
}
