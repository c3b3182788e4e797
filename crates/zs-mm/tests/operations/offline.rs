//! Frames and zones that go out of use.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use crate::common::objects::Objects;
use crate::common::{Random, alloc_up_to, at_every_size, check, effort, free_all, still_host};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zs_mm::{
    Arena, ArenaOptions, Backing, Error, FrameId, FrameStatus, FrameType, Movable, PageSize,
    RegionKind, ZoneId, ZoneSpecs,
};
use zs_os::testing::{Call, Fault, HeapBacking, Recorded, RecordingBacking, StrictBacking};
use zs_os::{AnonBacking, HOST};

const BUSY: FrameStatus = FrameStatus::Busy;

fn in_the_way(frame: FrameId, status: FrameStatus) -> Error {
    Error::InTheWay { frame, status }
}

fn is_offline(arena: &Arena<impl Backing>, frame: FrameId) -> bool {
    let descriptor = arena.frame_descriptor(frame).expect("in the arena");
    descriptor.frame_type() == FrameType::Offline
}

#[test]
fn a_frame_goes_and_its_bytes_stay() {
    at_every_size(|page, granule| {
        let options = crate::common::blocks(page, 4);
        let backing = RecordingBacking::new(StrictBacking::with_granule(granule));
        let recording = backing.recording();
        let arena = crate::common::arena(backing, still_host(), options);
        let objects = Objects::full(&arena, 2 * page.frames_per_block());
        let count = objects.check();
        let mut random = Random(3);
        let group = (granule / page.bytes()).max(1) as u32;
        let mut gone = HashSet::new();
        // In use, free with memory, free without, never opened.
        let in_use = [0, 3, 77 % count, count - 1].map(|slot| objects.frame(slot).expect("one"));
        objects.free(9);
        let never = FrameId(4 * page.frames_per_block() as u32 - 1);
        for frame in in_use.into_iter().chain([FrameId(9), never]) {
            recording.take();
            match arena.offline_frame(frame, &[&objects]) {
                Ok(()) => {
                    let first = frame.0 - frame.0 % group;
                    gone.extend((first..first + group).map(FrameId));
                }
                // With one that shares its granule.
                Err(error) => assert_eq!(
                    error,
                    in_the_way(FrameId(frame.0 - frame.0 % group), FrameStatus::Offline)
                ),
            }
            let decommitted = recording.take().into_iter().any(|call| {
                matches!(
                    call,
                    Recorded::Decommit {
                        kind: RegionKind::Payload,
                        ..
                    }
                )
            });
            assert!(decommitted || frame == never || frame == FrameId(9));
            assert!(is_offline(&arena, frame));
            check(&arena, 0);
            assert_eq!(objects.check(), count - 1);
        }
        assert_eq!(arena.stats().offline, (gone.len() * page.bytes()) as u64);
        // They are never seen again, whatever is done.
        let mut frames = Vec::new();
        for _ in 0..3 {
            let more = alloc_up_to(&arena, usize::MAX);
            assert!(more.iter().all(|frame| !gone.contains(&frame.id())));
            let (kept, freed): (Vec<_>, Vec<_>) =
                more.into_iter().partition(|_| random.below(2) == 0);
            frames.extend(kept);
            free_all(&arena, freed);
            if let Ok(block) = arena.alloc_contiguous(3, &[&objects]) {
                let range = block.first().0..block.first().0 + 8;
                assert!(!gone.iter().any(|frame| range.contains(&frame.0)));
                arena.free_contiguous(block);
            }
            arena.trim();
            check(&arena, 0);
        }
        free_all(&arena, frames);
        for &frame in &gone {
            let again = arena.offline_frame(frame, &[&objects]);
            let first = FrameId(frame.0 - frame.0 % group);
            assert_eq!(again, Err(in_the_way(first, FrameStatus::Offline)));
            let range = arena.alloc_range(frame, 1, &[&objects]);
            assert_eq!(range, Err(in_the_way(frame, FrameStatus::Offline)));
        }
        assert_eq!(objects.check(), count - 1);
        check(&arena, 0);
    });
}

#[test]
fn a_frame_that_cannot_go_stays() {
    let options = crate::common::blocks(PageSize::K16, 2);
    let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
    let objects = Objects::full(&arena, 64);
    let (frame, read) = (
        objects.frame(1).expect("one"),
        objects.frame(2).expect("one"),
    );
    let before = arena.stats();
    assert_eq!(
        arena.offline_frame(frame, &[]),
        Err(in_the_way(frame, FrameStatus::NotMovable))
    );
    objects.busy.store(u32::MAX, Ordering::Relaxed);
    let refused = arena.offline_frame(frame, &[&objects]);
    assert_eq!(refused, Err(in_the_way(frame, BUSY)));
    objects.busy.store(0, Ordering::Relaxed);
    // The system does not take it.
    let control = arena.backing().control();
    control.set(Call::Decommit, Fault::From(1));
    let refused = arena.offline_frame(frame, &[&objects]);
    assert_eq!(refused, Err(Error::NotGivenBack));
    control.clear();
    assert_eq!(arena.stats().offline, 0);
    // A reader: its object moves at once, its frame goes when it has left.
    let reading = objects.read(2);
    assert!(arena.offline_frame(read, &[&objects]).is_err());
    assert!(objects.frame(2) != Some(read) && !is_offline(&arena, read));
    drop(reading);
    assert_eq!(arena.offline_frame(read, &[&objects]), Ok(()));
    assert_eq!(arena.offline_frame(frame, &[&objects]), Ok(()));
    for frame in [FrameId(256), FrameId(u32::MAX)] {
        let refused = arena.offline_frame(frame, &[&objects]);
        let first = frame;
        assert_eq!(refused, Err(Error::InvalidRange { first, frames: 1 }));
    }
    assert_eq!(objects.check(), 64);
    assert_eq!(arena.stats().in_use, before.in_use);
    check(&arena, 0);
}

fn in_zone(
    arena: &Arena<impl Backing>,
    objects: &Objects<'_, impl Backing>,
    zone: ZoneId,
) -> usize {
    let frames = (0..objects.slots()).filter_map(|slot| objects.frame(slot));
    frames
        .filter(|&frame| arena.zone_of_frame(frame) == Some(zone))
        .count()
}

#[test]
fn a_zone_goes_and_comes() {
    at_every_size(|page, granule| {
        let options = ArenaOptions {
            zones: ZoneSpecs::normal(3),
            ..crate::common::blocks(page, 9)
        };
        let arena =
            crate::common::arena(StrictBacking::with_granule(granule), still_host(), options);
        let block = page.frames_per_block();
        let objects = Objects::full(&arena, 5 * block);
        let mut random = Random(5);
        for slot in 0..objects.slots() {
            if random.below(3) == 0 {
                objects.free(slot);
            }
        }
        let count = objects.check();
        let bad = objects.frame(count / 4).or(objects.frame(0)).expect("one");
        arena.offline_frame(bad, &[&objects]).expect("it can move");
        for zone in [ZoneId(0), ZoneId(1), ZoneId(2), ZoneId(0)] {
            assert!(arena.is_online(zone).expect("a zone"));
            arena
                .offline_zone(zone, &[&objects])
                .expect("room elsewhere");
            assert_eq!(arena.is_online(zone), Ok(false));
            assert_eq!(in_zone(&arena, &objects, zone), 0);
            assert_eq!(objects.check(), count);
            check(&arena, 0);
            // Nothing is to be had there, by any way.
            let range = arena.zone_frames(zone).expect("a zone");
            let offline = Error::ZoneOffline(zone);
            assert_eq!(arena.alloc_frame_in(zone).err(), Some(offline));
            assert_eq!(arena.alloc_range(range.start, 1, &[]), Err(offline));
            assert_eq!(arena.offline_frame(range.start, &[]), Err(offline));
            assert_eq!(arena.offline_zone(zone, &[]), Err(offline));
            let frames = alloc_up_to(&arena, usize::MAX);
            assert!(!frames.iter().any(|frame| range.contains(&frame.id())));
            free_all(&arena, frames);
            while let Ok(block) = arena.alloc_contiguous(2, &[]) {
                assert!(!range.contains(&block.first()));
                arena.free_contiguous(block);
                if random.below(9) == 0 {
                    break;
                }
            }
            arena.online_zone(zone).expect("it is offline");
            arena.online_zone(zone).expect("it is online already");
            let frame = arena.alloc_frame_in(zone).expect("online again");
            arena.free_frame(frame);
            check(&arena, 0);
        }
        assert_eq!(
            arena.offline_zone(ZoneId(3), &[]),
            Err(Error::NoSuchZone(ZoneId(3)))
        );
        assert_eq!(
            arena.online_zone(ZoneId(3)),
            Err(Error::NoSuchZone(ZoneId(3)))
        );
        assert!(is_offline(&arena, bad), "for good");
        check(&arena, 0);
    });
}

#[test]
fn a_zone_that_cannot_go_stays_online() {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        ..crate::common::blocks(PageSize::K64, 4)
    };
    let arena = crate::common::arena(HeapBacking::new(4096), still_host(), options);
    let zone = ZoneId(0);
    let objects = Objects::full(&arena, 40);
    let stays = |error| {
        assert_eq!(arena.offline_zone(zone, &[&objects]), Err(error));
        assert_eq!(arena.is_online(zone), Ok(true));
        check(&arena, 0);
    };
    let frame = arena.alloc_frame_in(zone).expect("room");
    stays(in_the_way(frame.id(), BUSY));
    arena.free_frame(frame);
    let block = arena
        .alloc_range(FrameId(50), 5, &[&objects])
        .expect("room");
    stays(in_the_way(FrameId(50), FrameStatus::NotMovable));
    arena.free_contiguous(block);
    let more = Objects::full(&arena, 60);
    let owners: [&dyn Movable; 2] = [&objects, &more];
    assert!(in_zone(&arena, &more, zone) > 50, "it is filled first");
    let pause = arena.pause_moves();
    assert_eq!(arena.offline_zone(zone, &owners), Err(Error::MovesPaused));
    drop(pause);
    // More than the other zone has room for.
    assert_eq!(arena.offline_zone(zone, &owners), Err(Error::NoMemory));
    let left =
        (0..60).find(|&slot| arena.zone_of_frame(more.frame(slot).expect("one")) == Some(zone));
    let read = left.expect("some had no room");
    (0..60)
        .filter(|&slot| slot != read)
        .for_each(|slot| assert!(more.free(slot)));
    let reading = more.read(read).expect("an object");
    let refused = arena.offline_zone(zone, &owners);
    assert!(
        matches!(refused, Err(Error::InTheWay { .. })),
        "{refused:?}"
    );
    drop(reading);
    more.free_all();
    let control = arena.backing().control();
    control.set(Call::Decommit, Fault::From(1));
    stays(Error::NotGivenBack);
    control.clear();
    assert_eq!(arena.offline_zone(zone, &[&objects]), Ok(()));
    // The last one goes only empty.
    assert_eq!(
        arena.offline_zone(ZoneId(1), &[&objects]),
        Err(Error::NoMemory)
    );
    assert_eq!((objects.check(), more.check()), (40, 0));
    check(&arena, 0);
    objects.free_all();
    assert_eq!(arena.offline_zone(ZoneId(1), &[&objects]), Ok(()));
    assert_eq!(arena.alloc_frame().err(), Some(Error::NoMemory));
    assert_eq!(arena.stats().held, arena.stats().metadata);
}

/// Each commit fails in turn while a zone is emptied, and a frame.
#[test]
fn a_failed_commit_loses_nothing() {
    for page in PageSize::ALL {
        for nth in 1.. {
            let options = ArenaOptions {
                zones: ZoneSpecs::normal(2),
                ..crate::common::blocks(page, 6)
            };
            let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
            let objects = Objects::full(&arena, 2 * page.frames_per_block());
            let control = arena.backing().control();
            control.set(Call::Commit, Fault::Nth(nth));
            let first = arena.offline_frame(FrameId(1), &[&objects]);
            let second = arena.offline_zone(ZoneId(0), &[&objects]);
            let hit = control.failed(Call::Commit) > 0;
            control.clear();
            check(&arena, 0);
            assert_eq!(objects.check(), objects.slots());
            for outcome in [first, second] {
                assert!(outcome.is_ok() || hit && outcome == Err(Error::NoMemory));
            }
            let online = arena.is_online(ZoneId(0)).expect("a zone");
            assert_eq!(online, second.is_err());
            if !hit {
                assert!(nth > 4, "commits were made");
                break;
            }
        }
    }
}

/// Zones go and come, frames go, while others read, write, insert and free.
#[test]
fn zones_go_and_come_while_others_work() {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(4),
        ..ArenaOptions::new(64 << 20)
    };
    let arena = crate::common::arena(AnonBacking::new(), &HOST, options);
    let slots = 6000;
    let objects = Objects::full(&arena, slots);
    let stop = AtomicBool::new(false);
    let (went, tried_again, changes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let worker = |seed: u64| {
        let mut random = Random(seed);
        while !stop.load(Ordering::Relaxed) {
            let slot = random.below(slots);
            let reading = objects.read(random.below(slots));
            let changed = match random.below(8) {
                0 if objects.free(slot) => objects.insert(slot),
                _ => objects.write(slot, random.below(1 << 40) as u64),
            };
            drop(reading);
            changes.fetch_add(changed.into(), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(|| worker(3)), scope.spawn(|| worker(5))];
        let mut random = Random(9);
        for round in 0.. {
            let done = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            if round >= effort(200, 40) && done(&went) > 8 && done(&changes) > 100
                || round > 100_000
            {
                break;
            }
            let zone = ZoneId(random.below(4) as u32);
            let outcome = match random.below(4) {
                0 => arena.offline_frame(FrameId(random.below(16384) as u32), &[&objects]),
                _ => arena.offline_zone(zone, &[&objects]),
            };
            let counter = if outcome.is_ok() { &went } else { &tried_again };
            counter.fetch_add(1, Ordering::Relaxed);
            arena
                .online_zone(zone)
                .expect("nobody else takes it offline");
        }
        stop.store(true, Ordering::Relaxed);
        let ended = workers.map(|worker| worker.join());
        assert!(ended.iter().all(Result::is_ok), "no panic");
    });
    let (went, changes) = (went.into_inner(), changes.into_inner());
    assert!(went > 8 && changes > 100, "{went} went, {changes} changes");
    objects.check();
    objects.drain();
    for zone in arena.zones() {
        let moves = arena.zone_moves(zone).expect("a zone");
        assert_eq!((moves.isolated, moves.draining), (0, 0));
    }
    check(&arena, 0);
}
