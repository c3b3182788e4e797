//! A balloon: its counters, its moves, and what it leaves to others.

#![cfg(not(zs_loom))]

use crate::common::{alloc_up_to, blocks, check, effort, free_all, still_host};
use std::sync::atomic::{AtomicBool, Ordering};
use zs_mm::{
    Anywhere, Arena, Backing, Balloon, Error, FrameId, FrameStatus, FrameType, MigrateMode,
    MigrateOptions, PageSize, ZoneId,
};
use zs_os::HOST;
use zs_os::testing::{Call, Fault, FaultBacking, StrictBacking};

type TestArena = Arena<FaultBacking<StrictBacking>>;

fn arena(page: PageSize, count: u64) -> TestArena {
    crate::common::arena(StrictBacking::new(), still_host(), blocks(page, count))
}

/// The frames that descriptors say are in a balloon.
fn ballooned<B: Backing>(arena: &Arena<B>) -> Vec<FrameId> {
    (0..)
        .map(FrameId)
        .map_while(|frame| Some((frame, arena.frame_descriptor(frame)?)))
        .filter(|(_, descriptor)| descriptor.frame_type() == FrameType::Balloon)
        .map(|(frame, _)| frame)
        .collect()
}

fn check_balloon(arena: &TestArena, balloon: &Balloon<&TestArena>, frames: u64) {
    assert_eq!(balloon.frames(), frames);
    assert_eq!(ballooned(arena).len() as u64, frames);
    let bytes = frames * arena.options().page_size.bytes() as u64;
    let stats = arena.stats();
    let with_memory = stats.in_use;
    assert_eq!(stats.ballooned + with_memory, bytes, "nobody else has any");
    check(arena, balloon.metadata_bytes());
}

#[test]
fn inflating_takes_no_memory_and_deflating_gives_the_frames_back() {
    for page in PageSize::ALL {
        let arena = arena(page, 4);
        let balloon = Balloon::new(&arena).expect("a balloon");
        let most = arena.capacity() >> page.shift();
        for target in [1, 40, 40, 3, 0, most / 2] {
            let reached = if target >= balloon.frames() {
                balloon.inflate(target).expect("room")
            } else {
                balloon.deflate(target)
            };
            assert_eq!(reached, target);
            check_balloon(&arena, &balloon, target);
        }
        assert_eq!(arena.stats().cached, 0, "no frame was committed");
        // More than there is: the balloon takes what it gets.
        assert_eq!(balloon.inflate(most * 2), Err(Error::NoMemory));
        assert!(balloon.frames() > most / 2);
        assert_eq!(arena.alloc_frame(), Err(Error::NoMemory), "the limit");
        check_balloon(&arena, &balloon, balloon.frames());
        drop(balloon);
        assert_eq!(arena.stats().ballooned, 0);
        let frame = arena.alloc_frame().expect("room again");
        arena.free_frame(frame);
        check(&arena, 0);
    }
}

/// Row M8: the accounting moves with a frame.
#[test]
fn m8_balloon_counters_are_exact_after_moves() {
    let arena = arena(PageSize::K4, 4);
    let balloon = Balloon::new(&arena).expect("a balloon");
    balloon.inflate(300).expect("room");
    let other = arena.join().expect("a key");
    for mode in [
        MigrateMode::Async,
        MigrateMode::SyncLight,
        MigrateMode::Sync,
        MigrateMode::SyncNoCopy,
    ] {
        let frames = ballooned(&arena);
        let mut status = vec![FrameStatus::Pending; frames.len()];
        let options = MigrateOptions::new(mode);
        let report = arena.migrate_pages(
            &frames,
            &[&balloon],
            &mut Anywhere(&arena),
            options,
            &mut status,
        );
        assert_eq!((report.moved, report.bytes_copied), (300, 0), "{report:?}");
        for (frame, status) in frames.iter().zip(status) {
            assert!(matches!(status, FrameStatus::Moved(to) if to != *frame));
        }
        assert_eq!(arena.zone_moves(ZoneId(0)).expect("a zone").isolated, 0);
        check_balloon(&arena, &balloon, 300);
    }
    arena.leave(other);
}

#[test]
fn a_frame_that_is_let_go_of_while_it_moves_is_freed_once() {
    let arena = arena(PageSize::K4, 4);
    let balloon = Balloon::new(&arena).expect("a balloon");
    balloon.inflate(5).expect("room");
    let frames = ballooned(&arena);
    let tokens: Vec<_> = frames
        .iter()
        .map(|&frame| arena.isolate(frame, &[&balloon], false).expect("movable"))
        .collect();
    let again = arena.isolate(frames[0], &[&balloon], false);
    assert_eq!(again.err(), Some(FrameStatus::AlreadyIsolated));
    assert_eq!(balloon.deflate(2), 2);
    assert_eq!(arena.stats().ballooned >> 12, 5, "three are on their way");
    drop(tokens);
    check_balloon(&arena, &balloon, 2);
    // The slots of those that went are left open, and filled again from the end.
    balloon.inflate(9).expect("room");
    check_balloon(&arena, &balloon, 9);
}

#[test]
fn slots_are_used_again_however_often_a_balloon_is_inflated() {
    let arena = arena(PageSize::K4, 1);
    let balloon = Balloon::new(&arena).expect("a balloon");
    let cycles = 3 * PageSize::K4.frames_per_block();
    for _ in 0..cycles {
        assert_eq!(balloon.inflate(2), Ok(2));
        assert_eq!(balloon.deflate(1), 1);
    }
    // A frame that is let go of while it is moved leaves its slot open behind the one that takes
    // its place.
    for _ in 0..cycles {
        assert_eq!(balloon.inflate(2), Ok(2));
        let tokens: Vec<_> = ballooned(&arena)
            .into_iter()
            .map(|frame| arena.isolate(frame, &[&balloon], false).expect("movable"))
            .collect();
        assert_eq!(balloon.deflate(1), 1);
        assert_eq!(balloon.inflate(2), Ok(2));
        drop(tokens);
        check_balloon(&arena, &balloon, 2);
    }
    assert_eq!(balloon.deflate(0), 0);
    check_balloon(&arena, &balloon, 0);
}

#[test]
fn a_balloon_takes_all_there_is_whatever_its_slots_need() {
    for page in PageSize::ALL {
        for taken in 0..6 {
            let arena = arena(page, 4);
            let balloon = Balloon::new(&arena).expect("a balloon");
            let charge = arena.charge(taken << 10).expect("room");
            let all = arena.capacity() >> page.shift();
            assert_eq!(balloon.inflate(all), Err(Error::NoMemory));
            let left = arena.limit() - arena.stats().held - arena.stats().ballooned;
            assert!(left < page.bytes() as u64, "{left} bytes are left");
            check(&arena, balloon.metadata_bytes() + (taken << 10));
            arena.uncharge(charge);
        }
    }
}

/// Threads inflate one balloon and deflate it, while others take what is free, and move what is in
/// it.
#[test]
fn threads_inflate_and_deflate_one_balloon() {
    let arena = crate::common::arena(StrictBacking::new(), &HOST, blocks(PageSize::K4, 1));
    let balloon = Balloon::new(&arena).expect("a balloon");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let frames = alloc_up_to(&arena, usize::MAX);
                free_all(&arena, frames);
                arena.trim();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let options = MigrateOptions::new(MigrateMode::Sync);
                let (frames, to) = (ballooned(&arena), &mut Anywhere(&arena));
                arena.migrate_pages(&frames, &[&balloon], to, options, &mut []);
            }
        });
        let ups_and_downs = || {
            for _ in 0..effort(100_000, 500) {
                let _ = balloon.inflate(3);
                balloon.deflate(0);
            }
        };
        let both = [scope.spawn(ups_and_downs), scope.spawn(ups_and_downs)];
        let ended = both.map(std::thread::ScopedJoinHandle::join);
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "no check failed");
    });
    assert_eq!(balloon.deflate(0), 0);
    check_balloon(&arena, &balloon, 0);
}

#[test]
fn a_failed_call_of_the_backing_leaves_the_counters_exact() {
    for call in [Call::Commit, Call::Decommit] {
        let mut hits = 0;
        for nth in 1.. {
            let arena = arena(PageSize::K4, 4);
            let control = arena.backing().control();
            let balloon = Balloon::new(&arena).expect("a balloon");
            control.set(call, Fault::Nth(nth));
            let inflated = balloon.inflate(40);
            let frames = ballooned(&arena);
            arena.migrate_pages(
                &frames,
                &[&balloon],
                &mut Anywhere(&arena),
                MigrateOptions::new(MigrateMode::Sync),
                &mut [],
            );
            check_balloon(&arena, &balloon, balloon.frames());
            let failed = control.failed(call);
            hits += failed;
            assert_eq!(balloon.deflate(0), 0);
            check_balloon(&arena, &balloon, 0);
            if failed == 0 {
                assert_eq!(inflated, Ok(40));
                break;
            }
        }
        assert!(hits >= 3, "{call:?} failed {hits} times");
    }
}

/// A token that was leaked keeps no frame from the arena when the balloon goes.
#[test]
fn a_forgotten_token_does_not_keep_its_frame() {
    for page in PageSize::ALL {
        let arena = arena(page, 4);
        let balloon = Balloon::new(&arena).expect("a balloon");
        assert_eq!(balloon.inflate(5), Ok(5));
        for frame in ballooned(&arena).into_iter().step_by(2) {
            let token = arena.isolate(frame, &[&balloon], false);
            core::mem::forget(token.expect("at rest"));
        }
        drop(balloon);
        assert_eq!((ballooned(&arena).len(), arena.frames_in_use()), (0, 0));
        assert_eq!(arena.stats().ballooned, 0);
        check(&arena, 0);
    }
}
