//! Frames of a pool moved in each mode, by engines, in three steps: every byte is where its handle
//! says.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "a failed step ends a test")]

use std::num::NonZeroUsize;
use zs_mm::{
    Anywhere, Arena, ArenaOptions, FrameId, FrameStatus, MigrateEnd, MigrateMode, MigrateOptions,
    MigrateReason, MigrateReport, Movable, PageSize, ZoneId,
};
use zs_os::testing::{StrictBacking, TestHost};
use zs_os::{AnonBacking, CopyThreads, HOST};
use zsmalloc::{Handle, HandlePool, PoolOptions};

const MODES: [MigrateMode; 4] = [
    MigrateMode::Async,
    MigrateMode::SyncLight,
    MigrateMode::Sync,
    MigrateMode::SyncNoCopy,
];

type Pool<'a> = HandlePool<&'a Arena<StrictBacking>>;

fn arena(page_size: PageSize) -> Arena<StrictBacking> {
    let options = ArenaOptions {
        page_size,
        ..ArenaOptions::new(64 << 20)
    };
    Arena::new(StrictBacking::new(), TestHost::leak(0), options).expect("an arena")
}

/// Objects of many lengths, each with its own bytes; handles, and what they must read.
fn fill(pool: &Pool<'_>, page: PageSize) -> Vec<(Handle, Vec<u8>)> {
    let lengths = (0..600).map(|number: usize| 1 + (number * 7919) % page.bytes());
    lengths
        .enumerate()
        .map(|(number, len)| {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 31 + number * 17) as u8).collect();
            (pool.insert(&bytes).expect("room"), bytes)
        })
        .collect()
}

fn check(pool: &Pool<'_>, objects: &[(Handle, Vec<u8>)]) {
    let mut buffer = vec![0; pool.geometry().page_size().bytes()];
    for (handle, bytes) in objects {
        let len = pool.read_into(*handle, &mut buffer).expect("live");
        assert_eq!(&buffer[..len], bytes);
    }
    pool.validate().expect("the pool adds up");
    let metadata = pool.metadata().total();
    pool.arena().validate(metadata).expect("the arena adds up");
    let moves = pool.arena().zone_moves(ZoneId(0)).expect("a zone");
    assert_eq!((moves.isolated, moves.draining), (0, 0));
}

/// The frames of a pool, ascending.
fn frames(pool: &Pool<'_>) -> Vec<FrameId> {
    (0..)
        .map(FrameId)
        .map_while(|frame| Some((frame, pool.arena().frame_descriptor(frame)?)))
        .filter(|(_, descriptor)| descriptor.owner().is_some())
        .map(|(frame, _)| frame)
        .collect()
}

fn migrate(
    pool: &Pool<'_>,
    frames: &[FrameId],
    options: MigrateOptions<'_>,
) -> (MigrateReport, Vec<FrameStatus>) {
    let owners: [&dyn Movable; 1] = [pool];
    let mut status = vec![FrameStatus::Pending; frames.len()];
    let to = &mut Anywhere(pool.arena());
    let report = pool
        .arena()
        .migrate_pages(frames, &owners, to, options, &mut status);
    (report, status)
}

#[test]
fn every_mode_moves_every_frame_and_no_byte_is_lost() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pool = HandlePool::new(&arena, PoolOptions::named("modes")).expect("a pool");
        let objects = fill(&pool, page);
        for mode in MODES {
            let before = frames(&pool);
            let because = MigrateOptions::new(mode).because(MigrateReason::Demotion);
            let counted = arena.moved_because(MigrateReason::Demotion);
            let (report, status) = migrate(&pool, &before, because);
            assert_eq!(report.end, MigrateEnd::Done);
            let moved = status
                .iter()
                .zip(&before)
                .filter(|(status, from)| matches!(status, FrameStatus::Moved(to) if to != *from))
                .count();
            assert!(moved > 10 && moved == before.len() - report.freed as usize);
            assert_eq!((report.moved, report.not_moved), (moved as u64, 0));
            assert_eq!(report.bytes_copied, (moved * page.bytes()) as u64);
            let because = arena.moved_because(MigrateReason::Demotion);
            assert_eq!(because - counted, report.moved);
            check(&pool, &objects);
        }
    }
}

#[test]
fn threads_copy_the_batches_and_count_their_bytes() {
    let options = ArenaOptions::new(64 << 20);
    let arena = Arena::new(AnonBacking::new(), &HOST, options).expect("an arena");
    let pool = HandlePool::new(&arena, PoolOptions::named("threads")).expect("a pool");
    let objects: Vec<_> = (0..2000_u32)
        .map(|number| {
            let bytes = vec![number as u8; 3000];
            (pool.insert(&bytes).expect("room"), bytes)
        })
        .collect();
    let engine = CopyThreads::new(NonZeroUsize::new(3).expect("three"));
    let all: Vec<FrameId> = objects
        .iter()
        .map(|&(handle, _)| pool.frames_of(handle).expect("live").0)
        .collect();
    let mut list = all.clone();
    list.sort_unstable();
    list.dedup();
    let options = MigrateOptions {
        engine: &engine,
        ..MigrateOptions::new(MigrateMode::SyncNoCopy)
    };
    let owners: [&dyn Movable; 1] = [&pool];
    let report = arena.migrate_pages(&list, &owners, &mut Anywhere(&arena), options, &mut []);
    assert_eq!(report.moved, list.len() as u64);
    assert_eq!(engine.bytes_copied(), report.bytes_copied);
    assert_eq!(report.bytes_copied, report.moved << 12);
    for (handle, bytes) in &objects {
        let guard = pool.read(*handle).expect("live");
        assert_eq!(
            (guard.spans().first.len() + guard.spans().second.len()),
            bytes.len()
        );
        assert!(guard.spans().first.iter().all(|byte| *byte == bytes[0]));
    }
}

#[test]
fn the_caller_copies_in_three_steps() {
    let page = PageSize::K4;
    let arena = arena(page);
    let pool = HandlePool::new(&arena, PoolOptions::named("steps")).expect("a pool");
    let objects = fill(&pool, page);
    let owners: [&dyn Movable; 1] = [&pool];
    let first = frames(&pool)[0];
    let len = 20;
    let mut collected = arena.collect(first, len, &owners).expect("not paused");
    assert_eq!((collected.len(), collected.is_empty()), (len, false));
    let mut given = 0;
    for at in 0..len {
        let flags = collected.flags(at);
        assert_eq!(flags.valid, collected.status(at) == FrameStatus::Pending);
        assert_eq!((flags.write, flags.migrate), (flags.valid, false));
        let Some(bytes) = collected.bytes(at).map(<[u8]>::to_vec) else {
            continue;
        };
        // Every third stays where it is.
        if at % 3 == 0 {
            continue;
        }
        let mut to = arena.alloc_frame().expect("room");
        arena.write_frame(&mut to, &bytes);
        collected.give(at, to).expect("valid");
        let twice = arena.alloc_frame().expect("room");
        let refused = collected.give(at, twice).expect_err("it has one");
        arena.free_frame(refused);
        assert!(collected.flags(at).migrate);
        given += 1;
    }
    let beyond = arena.alloc_frame().expect("room");
    arena.free_frame(collected.give(len, beyond).expect_err("beyond the range"));
    let mut status = [FrameStatus::Pending; 20];
    assert_eq!(collected.finalize(&mut status), given);
    assert!(given > 5);
    check(&pool, &objects);

    // Given up half-way: everything stays, the frame that was given is freed.
    let mut collected = arena.collect(first, len, &owners).expect("not paused");
    let valid = (0..len).find(|&at| collected.flags(at).valid);
    let to = arena.alloc_frame().expect("room");
    let given = valid.map(|at| collected.give(at, to));
    assert!(matches!(given, Some(Ok(()))));
    drop(collected);
    check(&pool, &objects);
}

#[test]
fn bad_frames_get_a_status_each_and_nothing_is_lost() {
    let page = PageSize::K4;
    let arena = arena(page);
    let pool = HandlePool::new(&arena, PoolOptions::named("bad")).expect("a pool");
    let other = HandlePool::new(&arena, PoolOptions::named("other")).expect("a pool");
    let objects = fill(&pool, page);
    let foreign = other.insert(&[1; 100]).expect("room");
    let held = arena.alloc_frame().expect("room");
    let own = frames(&pool)[3];
    let owners: [&dyn Movable; 1] = [&pool];
    let token = arena.isolate(own, &owners, false).expect("movable");
    let free = FrameId((arena.capacity() >> page.shift()) as u32 - 1);
    let list = [
        FrameId(u32::MAX),
        free,
        held.id(),
        other.frames_of(foreign).expect("live").0,
        own,
    ];
    for mode in MODES {
        let (report, status) = migrate(&pool, &list, MigrateOptions::new(mode));
        assert_eq!(
            status,
            [
                FrameStatus::NoSuchFrame,
                FrameStatus::NotInUse,
                FrameStatus::Busy,
                FrameStatus::NotMovable,
                FrameStatus::AlreadyIsolated,
            ]
        );
        assert_eq!((report.moved, report.not_moved), (0, 4));
    }
    drop(token);
    arena.free_frame(held);
    other.free(foreign).expect("live");
    other.destroy().expect("empty");
    check(&pool, &objects);
}

#[test]
fn a_call_ends_early_when_it_is_cancelled_paused_or_without_memory() {
    let page = PageSize::K4;
    let arena = arena(page);
    let pool = HandlePool::new(&arena, PoolOptions::named("early")).expect("a pool");
    let objects = fill(&pool, page);
    let all = frames(&pool);
    for mode in MODES {
        let no = || false;
        let options = MigrateOptions {
            go_on: &no,
            ..MigrateOptions::new(mode)
        };
        let (report, status) = migrate(&pool, &all, options);
        assert_eq!((report.end, report.moved), (MigrateEnd::Stopped, 0));
        assert_eq!(report.not_moved, all.len() as u64);
        assert!(!status.iter().any(|status| status.is_gone()));

        let paused = arena.pause_moves();
        let (report, _) = migrate(&pool, &all, MigrateOptions::new(mode));
        assert_eq!((report.end, report.moved), (MigrateEnd::Paused, 0));
        drop(paused);

        let mut taken = Vec::new();
        while let Ok(frame) = arena.alloc_frame() {
            taken.push(frame);
        }
        let (report, status) = migrate(&pool, &all, MigrateOptions::new(mode));
        assert_eq!((report.end, report.moved), (MigrateEnd::NoMemory, 0));
        assert!(status.contains(&FrameStatus::NoMemory), "{mode:?}");
        taken.into_iter().for_each(|frame| arena.free_frame(frame));
        check(&pool, &objects);
    }
}
