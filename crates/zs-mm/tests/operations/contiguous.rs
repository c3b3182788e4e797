//! Neighbouring frames at once: free ones, and such that something has to be moved away from.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use crate::common::objects::{Objects, free_some};
use crate::common::{Random, alloc_up_to, at_every_size, check, effort, free_all, still_host};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zs_mm::{
    Arena, ArenaOptions, Backing, Contiguous, Error, FrameId, FrameStatus, FrameType, PageSize,
    ZoneId, ZoneSpecs,
};
use zs_os::testing::{Call, Fault, FaultBacking, HeapBacking, StrictBacking};
use zs_os::{AnonBacking, HOST};

/// Writes into each frame of a range, reads it back, and says which frames they are.
fn used(arena: &Arena<impl Backing>, contiguous: &Contiguous) -> std::ops::Range<usize> {
    let first = contiguous.first().index();
    let range = first..first + contiguous.frames() as usize;
    for frame in range.clone().map(|frame| FrameId(frame as u32)) {
        let descriptor = arena.frame_descriptor(frame).expect("in the arena");
        assert_eq!(descriptor.frame_type(), FrameType::Block, "{frame}");
        crate::common::stamp_bytes(arena, frame, u64::from(frame.0));
    }
    range
}

#[test]
fn free_frames_of_every_order() {
    at_every_size(|page, granule| {
        let options = crate::common::blocks(page, 6);
        let arena =
            crate::common::arena(StrictBacking::with_granule(granule), still_host(), options);
        let in_block = page.frames_per_block();
        let most = (6 * in_block).ilog2();
        for order in 0..=most {
            let (mut held, mut seen) = (Vec::new(), HashSet::new());
            let error = loop {
                match arena.alloc_contiguous(order, &[]) {
                    Ok(contiguous) => {
                        assert_eq!(contiguous.frames(), 1 << order);
                        let align = (1 << order).min(in_block);
                        assert_eq!(contiguous.first().index() % align, 0);
                        for frame in used(&arena, &contiguous) {
                            assert!(seen.insert(frame), "{frame} twice");
                        }
                        held.push(contiguous);
                    }
                    Err(error) => break error,
                }
            };
            check(&arena, 0);
            // Descriptors and records take a little of the last block's worth.
            let is_over = matches!(
                error,
                Error::NoMemory
                    | Error::InTheWay {
                        status: FrameStatus::NotMovable,
                        ..
                    }
            );
            assert!(is_over, "order {order}: {error}");
            let least = (in_block * 5) >> order;
            assert!(held.len() >= least, "{} of order {order}", held.len());
            let bytes = (seen.len() * page.bytes()) as u64;
            assert_eq!(arena.stats().in_use, bytes);
            held.into_iter().for_each(|one| arena.free_contiguous(one));
            assert_eq!((arena.stats().in_use, arena.frames_in_use()), (0, 0));
            check(&arena, 0);
        }
        arena.trim();
        assert_eq!(arena.stats().held, arena.stats().metadata);
        assert_eq!(
            arena.alloc_contiguous(most + 1, &[]),
            Err(Error::OrderTooLarge {
                order: most + 1,
                most
            })
        );
        assert!(arena.alloc_contiguous(u32::MAX, &[]).is_err());
    });
}

#[test]
fn ranges_out_of_bounds_are_refused() {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        ..crate::common::blocks(PageSize::K4, 4)
    };
    let arena = crate::common::arena(HeapBacking::new(4096), still_host(), options);
    for (first, frames) in [
        (0, 0),
        (0, 1025),
        (1023, 2),
        (2047, 2),
        (2048, 1),
        (u32::MAX, 1),
        (1, u32::MAX),
        (u32::MAX, u32::MAX),
    ] {
        let first = FrameId(first);
        let refused = arena.alloc_range(first, frames, &[]);
        assert_eq!(refused, Err(Error::InvalidRange { first, frames }));
    }
    let text = Error::InvalidRange {
        first: FrameId(7),
        frames: 0,
    };
    assert_eq!(
        text.to_string(),
        "0 frames from F7 on: at least 1 is needed, and all in one zone"
    );
    let range = arena.alloc_range(FrameId(1024 + 100), 800, &[]);
    let range = range.expect("free");
    assert_eq!(used(&arena, &range), 1124..1924);
    let again = arena.alloc_range(FrameId(1900), 100, &[]);
    let error = again.expect_err("some of it is taken");
    let in_the_way = Error::InTheWay {
        frame: FrameId(1900),
        status: FrameStatus::NotMovable,
    };
    assert_eq!(error, in_the_way);
    assert_eq!(
        error.to_string(),
        "F1900 is in the way: its owner cannot move it"
    );
    check(&arena, 0);
    arena.free_contiguous(range);
    check(&arena, 0);
}

#[test]
fn what_is_in_the_way_moves() {
    at_every_size(|page, granule| {
        let options = crate::common::blocks(page, 12);
        let arena =
            crate::common::arena(StrictBacking::with_granule(granule), still_host(), options);
        let in_block = page.frames_per_block();
        let objects = Objects::full(&arena, 12 * in_block);
        free_some(&objects, 40, &mut Random(7));
        let before = objects.check();
        let free = 12 * in_block - before;
        let mut held = Vec::new();
        while let Ok(block) = arena.alloc_contiguous(in_block.ilog2(), &[&objects]) {
            used(&arena, &block);
            held.push(block);
            assert_eq!(objects.check(), before, "every object is there");
        }
        check(&arena, 0);
        // The frames of all but two blocks' worth of what was free; metadata takes some of the
        // rest.
        let possible = free / in_block;
        assert!(held.len() + 2 >= possible, "{} of {possible}", held.len());
        let moves = arena.zone_moves(ZoneId(0)).expect("a zone");
        assert_eq!((moves.isolated, moves.draining), (0, 0));
        assert!(moves.moved_out > 0 && moves.moved_out == moves.moved_in);
        held.into_iter().for_each(|one| arena.free_contiguous(one));
        objects.free_all();
        assert_eq!(arena.stats().in_use, 0);
        check(&arena, 0);
    });
}

#[test]
fn what_cannot_move_is_named_and_stays() {
    let arena = crate::common::arena(
        StrictBacking::new(),
        still_host(),
        crate::common::blocks(PageSize::K16, 3),
    );
    let objects = Objects::full(&arena, 200);
    let other = Objects::full(&arena, 40);
    let frame = other.frame(0).expect("an object");
    let before = arena.stats();
    let refused = arena.alloc_range(frame, 1, &[&objects]);
    let in_the_way = |frame, status| Error::InTheWay { frame, status };
    assert_eq!(refused, Err(in_the_way(frame, FrameStatus::NotMovable)));
    // Busy for longer than anybody waits; then no more.
    let mine = objects.frame(5).expect("an object");
    objects.busy.store(u32::MAX, Ordering::Relaxed);
    let refused = arena.alloc_range(mine, 1, &[&objects, &other]);
    assert_eq!(refused, Err(in_the_way(mine, FrameStatus::Busy)));
    objects.busy.store(3, Ordering::Relaxed);
    let range = arena.alloc_range(mine, 1, &[&objects, &other]);
    let range = range.expect("tried again");
    assert_eq!(range.first(), mine);
    // Read, and read on: the object moves, its old frame cannot be had until the reader leaves.
    let reading = objects.read(9).expect("an object");
    let read = objects.frame(9).expect("an object");
    let refused = arena.alloc_range(read, 1, &[&objects]);
    let busy = [FrameStatus::Busy, FrameStatus::AlreadyIsolated];
    assert!(
        busy.map(|status| Err(in_the_way(read, status)))
            .contains(&refused)
    );
    assert_ne!(objects.frame(9), Some(read), "moved at once");
    assert_eq!(arena.zone_moves(ZoneId(0)).expect("a zone").draining, 1);
    drop(reading);
    let old = arena.alloc_range(read, 1, &[&objects]);
    arena.free_contiguous(old.expect("the reader has left"));
    arena.free_contiguous(range);
    assert_eq!(arena.zone_moves(ZoneId(0)).expect("a zone").draining, 0);
    // A frame that somebody holds, and gives to no owner.
    let frame = arena.alloc_frame().expect("room");
    let refused = arena.alloc_range(frame.id(), 1, &[&objects]);
    assert_eq!(refused, Err(in_the_way(frame.id(), FrameStatus::Busy)));
    arena.free_frame(frame);
    // Paused.
    let pause = arena.pause_moves();
    let refused = arena.alloc_range(mine, 200, &[&objects, &other]);
    assert_eq!(refused, Err(Error::MovesPaused));
    drop(pause);
    assert_eq!((objects.check(), other.check()), (200, 40));
    assert_eq!(arena.stats().in_use, before.in_use);
    check(&arena, 0);
}

/// Every commit fails in turn: nothing is lost, and without the fault all is to be had.
#[test]
fn a_failed_commit_loses_nothing() {
    let hits = std::cell::Cell::new(0);
    at_every_size(|page, granule| {
        for nth in 1.. {
            let options = crate::common::blocks(page, 6);
            let backing = StrictBacking::with_granule(granule);
            let arena = crate::common::arena(backing, still_host(), options);
            let in_block = page.frames_per_block();
            let objects = Objects::full(&arena, 3 * in_block);
            free_some(&objects, 50, &mut Random(nth));
            arena.trim();
            let count = objects.check();
            let control = arena.backing().control();
            control.set(Call::Commit, Fault::Nth(nth));
            let order = in_block.ilog2();
            let block = arena.alloc_contiguous(order, &[&objects]);
            check(&arena, 0);
            let frames = block.map(|block| arena.free_contiguous(block));
            let range = arena.alloc_range(FrameId(3), in_block as u32, &[&objects]);
            check(&arena, 0);
            let range = range.map(|range| arena.free_contiguous(range));
            let hit = control.failed(Call::Commit) > 0;
            control.clear();
            assert_eq!(objects.check(), count);
            for outcome in [frames, range] {
                let expected = outcome.is_ok() || hit && outcome == Err(Error::NoMemory);
                assert!(expected, "{outcome:?}");
            }
            check(&arena, 0);
            let again = arena.alloc_contiguous(order, &[&objects]);
            arena.free_contiguous(again.expect("the fault is gone"));
            assert_eq!(objects.check(), count);
            if !hit {
                hits.set(hits.get() + nth - 1);
                break;
            }
        }
    });
    assert!(hits.get() > 9, "only {} commits failed", hits.get());
}

type Large = Arena<FaultBacking<AnonBacking>>;

/// The bar: 100 blocks of order 9 at once, of an arena of 2 GiB with 30 % free, while others read,
/// write, insert and free.
#[test]
fn a_hundred_blocks_while_others_work() {
    let gib = effort(2, 1) as u64;
    let arena: Large =
        crate::common::arena(AnonBacking::new(), &HOST, ArenaOptions::new(gib << 30));
    let slots = (gib << 18) as usize;
    let objects = Objects::full(&arena, slots);
    free_some(&objects, 30, &mut Random(11));
    let (stop, reads, changes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let wanted = 50 * gib as usize;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut random = Random(3);
            while !stop.load(Ordering::Relaxed) {
                let first = objects.read(random.below(slots));
                let second = objects.read(random.below(slots));
                let count = u64::from(first.is_some()) + u64::from(second.is_some());
                reads.fetch_add(count, Ordering::Relaxed);
            }
        });
        let writer = scope.spawn(|| {
            let mut random = Random(5);
            while !stop.load(Ordering::Relaxed) {
                let (slot, mark) = (random.below(slots), random.below(1 << 40) as u64);
                let changed = match random.below(16) {
                    0 if objects.free(slot) => objects.insert(slot),
                    _ => objects.write(slot, mark),
                };
                changes.fetch_add(changed.into(), Ordering::Relaxed);
            }
        });
        while reads.load(Ordering::Relaxed) == 0 || changes.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let held: Vec<_> = (0..wanted)
            .map(|_| arena.alloc_contiguous(9, &[&objects]))
            .collect();
        stop.store(true, Ordering::Relaxed);
        let ended = [reader.join(), writer.join()];
        assert!(ended.iter().all(Result::is_ok), "no panic");
        let mut blocks = HashSet::new();
        for block in held {
            let block = block.expect("a block");
            assert!(blocks.insert(used(&arena, &block).start), "each once");
            arena.free_contiguous(block);
        }
        assert_eq!(blocks.len(), wanted);
    });
    objects.check();
    let moves = arena.zone_moves(ZoneId(0)).expect("a zone");
    assert!(moves.moved_out > 0 && moves.isolated == 0, "{moves:?}");
    objects.free_all();
    check(&arena, 0);
    assert_eq!(arena.stats().in_use, 0);
}

/// Frames that lie in caches are found, and a cache keeps nothing meanwhile.
#[test]
fn cached_frames_are_found() {
    for page in PageSize::ALL {
        let host = still_host();
        let arena =
            crate::common::arena(StrictBacking::new(), host, crate::common::blocks(page, 1));
        let frames = alloc_up_to(&arena, usize::MAX);
        let count = frames.len();
        for (number, frame) in frames.into_iter().enumerate() {
            host.set_cpu(number);
            free_all(&arena, [frame]);
        }
        let all = arena.alloc_range(FrameId(0), count as u32, &[]);
        arena.free_contiguous(all.expect("all of it is free"));
        check(&arena, 0);
        // On again: the next free stays in its cache.
        free_all(&arena, alloc_up_to(&arena, 1));
        assert!(arena.alloc_frame().is_ok_and(|frame| {
            arena.free_frame(frame);
            true
        }));
        check(&arena, 0);
    }
}
