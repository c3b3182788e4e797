//! A failure of the backing at every call in turn, in one fixed scenario.

#![cfg(not(zs_loom))]

use crate::common::{alloc_up_to, at_every_size, check, free_all, still_host};
use zs_mm::{Arena, ArenaOptions, Error, Frame, PageSize, ZoneSpecs};
use zs_os::testing::{
    Call, Fault, FaultBacking, FaultControl, Recorded, RecordingBacking, StrictBacking,
};

type Tested = FaultBacking<RecordingBacking<StrictBacking>>;

/// Frames of the scenario: with each more there is another run, and each run is longer.
const FRAMES: usize = 500;

/// Frames that go or stay together: so many, lest each be a call of its own.
const CLUMP: usize = 40;

/// Allocates, frees every second clump of frames, trims, allocates again. Stops nowhere.
fn scenario(arena: &Arena<Tested>) -> Vec<Frame> {
    let mut kept = Vec::new();
    let mut freed = Vec::new();
    for (number, frame) in alloc_up_to(arena, FRAMES).into_iter().enumerate() {
        if (number / CLUMP).is_multiple_of(2) {
            kept.push(frame);
        } else {
            freed.push(frame);
        }
    }
    free_all(arena, freed);
    arena.trim();
    kept.extend(alloc_up_to(arena, FRAMES - kept.len()));
    kept
}

fn new_arena(page: PageSize, backing: Tested) -> Result<Arena<Tested>, Error> {
    let bytes = 1600 * page.bytes() as u64;
    let count = bytes.div_ceil(page.block_bytes() as u64) + 1;
    Arena::new(backing, still_host(), crate::common::blocks(page, count))
}

/// One run with a fault from the start; says whether it hit.
fn run_with(page: PageSize, granule: usize, call: Call, fault: Fault) -> bool {
    let recorded = RecordingBacking::new(StrictBacking::with_granule(granule));
    let recording = recorded.recording();
    let backing = FaultBacking::new(recorded);
    let control = backing.control();
    control.set(call, fault);
    match new_arena(page, backing) {
        Ok(arena) => run_scenario(&arena, &control, call),
        Err(error) => assert_eq!(error, Error::NoMemory),
    }
    let calls = recording.take();
    let count = |is: fn(&Recorded) -> bool| calls.iter().filter(|call| is(call)).count();
    let reserved = count(|call| matches!(call, Recorded::Reserve { .. }));
    let released = count(|call| matches!(call, Recorded::Release { .. }));
    assert_eq!(reserved, released, "every region was released");
    control.failed(call) > 0
}

fn run_scenario(arena: &Arena<Tested>, control: &FaultControl, call: Call) {
    let mut frames = scenario(arena);
    check(arena, 0);
    let before = control.failed(call);
    let table = arena.reserve_table::<zs_sync::AtomicU64>(10_000);
    if let Ok(table) = table {
        if arena.ensure(&table, 9_999).is_ok() {
            check(arena, table.committed_bytes());
        }
        arena.release_table(table);
    } else {
        assert!(control.failed(call) > before);
    }
    control.clear();
    // The fault is gone: what it kept from us can be had now.
    frames.extend(alloc_up_to(arena, FRAMES - frames.len()));
    assert_eq!(frames.len(), FRAMES);
    free_all(arena, frames);
    arena.trim();
    check(arena, 0);
    let stats = arena.stats();
    assert_eq!(
        (stats.held, stats.cached),
        (stats.metadata, 0),
        "all is given back"
    );
}

fn fail_each(call: Call) {
    at_every_size(|page, granule| {
        let mut n = 1;
        while run_with(page, granule, call, Fault::Nth(n)) {
            n += 1;
        }
        assert!(n > 3, "the scenario makes more {call:?} calls than {n}");
    });
}

#[test]
fn each_commit() {
    fail_each(Call::Commit);
}

#[test]
fn each_decommit() {
    fail_each(Call::Decommit);
}

#[test]
fn each_reservation() {
    fail_each(Call::Reserve);
}

#[test]
fn each_zone() {
    for zone in 0..4 {
        let recorded = RecordingBacking::new(StrictBacking::new());
        let recording = recorded.recording();
        let backing = FaultBacking::new(recorded);
        backing.control().set(Call::PlaceZone, Fault::Nth(zone + 1));
        let options = ArenaOptions {
            zones: ZoneSpecs::normal(4),
            ..ArenaOptions::new(8 << 20)
        };
        let error = Arena::new(backing, still_host(), options).expect_err("a zone is refused");
        assert_eq!(
            error.to_string(),
            format!(
                "invalid arena options: zone {zone} (normal): the system refused addresses, \
                 memory, or to bind memory to the node"
            )
        );
        let calls = recording.take();
        let count = |is: fn(&Recorded) -> bool| calls.iter().filter(|call| is(call)).count();
        let placed = count(|call| matches!(call, Recorded::PlaceZone { .. }));
        assert_eq!(placed as u64, zone);
        let reserved = count(|call| matches!(call, Recorded::Reserve { .. }));
        let released = count(|call| matches!(call, Recorded::Release { .. }));
        assert_eq!((reserved, released), (3, 3), "every region was released");
    }
}

#[test]
fn all_calls_from_the_nth_on() {
    at_every_size(|page, granule| {
        for call in [Call::Reserve, Call::Commit, Call::Decommit] {
            for n in [1, 2, 3, 4, 10, 30] {
                run_with(page, granule, call, Fault::From(n));
                run_with(page, granule, call, Fault::Every(n));
            }
        }
    });
}

#[test]
fn a_failed_commit_leaves_free_frames_usable() {
    let backing = FaultBacking::new(RecordingBacking::new(StrictBacking::new()));
    let control = backing.control();
    let arena = new_arena(PageSize::K4, backing).expect("an arena");
    let frames = alloc_up_to(&arena, 40);
    let spare = arena.stats().cached / 4096;
    control.set(Call::Commit, Fault::From(1));
    let more = alloc_up_to(&arena, 1000);
    assert_eq!(
        more.len() as u64,
        spare,
        "committed frames are handed out all the same"
    );
    assert_eq!(arena.alloc_frame().expect_err("no memory"), Error::NoMemory);
    free_all(&arena, frames.into_iter().chain(more));
    check(&arena, 0);
}
