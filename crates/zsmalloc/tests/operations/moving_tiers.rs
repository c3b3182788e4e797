//! Frames of a pool moved between zones by the caller's hints, and whole pageblocks as one.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "a failed step ends a test")]

use zs_mm::{
    Arena, ArenaOptions, Error, FrameId, MigrateMode, MigrateReason, Movable, PageSize, ZoneId,
    ZoneSpecs,
};
use zs_os::testing::{StrictBacking, TestHost};
use zsmalloc::{Handle, HandlePool, PoolOptions};

const FAST: ZoneId = ZoneId(0);
const SLOW: ZoneId = ZoneId(1);

type TestArena = Arena<StrictBacking>;

fn arena(page_size: PageSize) -> TestArena {
    let options = ArenaOptions {
        page_size,
        zones: ZoneSpecs::normal(2),
        ..ArenaOptions::new(16 << 20)
    };
    Arena::new(StrictBacking::new(), TestHost::leak(0), options).expect("an arena")
}

fn fill(pool: &HandlePool<&TestArena>, objects: usize) -> Vec<(Handle, Vec<u8>)> {
    let page = pool.geometry().page_size().bytes();
    (0..objects)
        .map(|number| {
            let bytes = vec![number as u8; 1 + number * 977 % page];
            (pool.insert(&bytes).expect("room"), bytes)
        })
        .collect()
}

fn check(pool: &HandlePool<&TestArena>, objects: &[(Handle, Vec<u8>)]) {
    let mut buffer = vec![0; pool.geometry().page_size().bytes()];
    for (handle, bytes) in objects {
        let len = pool.read_into(*handle, &mut buffer).expect("live");
        assert_eq!(&buffer[..len], bytes);
    }
    pool.validate().expect("the pool adds up");
    let metadata = pool.metadata().total();
    pool.arena().validate(metadata).expect("the arena adds up");
}

fn zone_of(arena: &TestArena, frame: FrameId) -> ZoneId {
    arena.zone_of_frame(frame).expect("of the arena")
}

/// The frames of a pool that lie in a zone.
fn frames_in(arena: &TestArena, zone: ZoneId) -> u64 {
    let frames = arena.zone_frames(zone).expect("a zone");
    let owned = (frames.start.0..frames.end.0).filter(|&frame| {
        let descriptor = arena.frame_descriptor(FrameId(frame));
        descriptor.is_some_and(|descriptor| descriptor.owner().is_some())
    });
    owned.count() as u64
}

#[test]
fn what_a_hint_calls_cold_goes_down_and_what_it_calls_hot_comes_up() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pool = HandlePool::new(&arena, PoolOptions::named("tiers")).expect("a pool");
        let objects = fill(&pool, 150);
        let owners: [&dyn Movable; 1] = [&pool];
        let all = frames_in(&arena, FAST);
        assert!(all > 20 && frames_in(&arena, SLOW) == 0);

        // Every second frame is cold.
        let mut asked = 0;
        let report = arena
            .demote(FAST, SLOW, &owners, u64::MAX, |frame, _| {
                asked += 1;
                frame.0 % 2 == 0
            })
            .expect("both are there");
        assert_eq!(asked, all, "each frame was asked about once");
        assert!(report.moved > 5 && report.not_moved == 0, "{report:?}");
        assert_eq!(frames_in(&arena, SLOW), report.moved);
        assert_eq!(arena.moved_because(MigrateReason::Demotion), report.moved);
        check(&pool, &objects);

        // One object is hot: its frames come back, and no more than asked for.
        let (first, second) = objects
            .iter()
            .map(|&(handle, _)| pool.frames_of(handle).expect("live"))
            .find(|&(first, _)| zone_of(&arena, first) == SLOW)
            .expect("some went down");
        let is_hot = |frame, _| frame == first || Some(frame) == second;
        let report = arena
            .promote(SLOW, FAST, &owners, 1, is_hot)
            .expect("both are there");
        assert_eq!(report.moved, 1);
        assert_eq!(arena.moved_because(MigrateReason::Promotion), 1);
        check(&pool, &objects);

        let report = arena
            .demote(FAST, SLOW, &owners, 0, |_, _| true)
            .expect("both are there");
        assert_eq!(report.moved, 0, "none was to be moved");
        let nowhere = arena.demote(FAST, ZoneId(2), &owners, 1, |_, _| true);
        assert_eq!(nowhere.err(), Some(Error::NoSuchZone(ZoneId(2))));
    }
}

#[test]
fn a_whole_pageblock_is_moved_as_one_or_frame_by_frame() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pool = HandlePool::new(&arena, PoolOptions::named("blocks")).expect("a pool");
        let objects = fill(&pool, 150);
        let owners: [&dyn Movable; 1] = [&pool];
        let in_block = page.frames_per_block() as u32;
        let (first, _) = pool.frames_of(objects[0].0).expect("live");
        let base = first.0 - first.0 % in_block;

        let report = arena
            .migrate_block(first, SLOW, &owners, MigrateMode::Sync)
            .expect("both are there");
        assert!(report.moved > 0 && report.not_moved == 0, "{report:?}");
        // At the same place of the block.
        let (moved, _) = pool.frames_of(objects[0].0).expect("live");
        assert_eq!(zone_of(&arena, moved), SLOW);
        assert_eq!(moved.0 % in_block, first.0 % in_block);
        let left = (base..base + in_block).filter(|&frame| {
            let descriptor = arena.frame_descriptor(FrameId(frame));
            descriptor.is_some_and(|descriptor| descriptor.owner().is_some())
        });
        assert_eq!(left.count(), 0);
        let moves = arena.zone_moves(FAST).expect("a zone");
        assert_eq!((moves.blocks_moved, moves.blocks_split), (1, 0));
        check(&pool, &objects);

        // No block of the first zone is free: back frame by frame, as far as there is room.
        let mut held = Vec::new();
        while let Ok(block) = arena.alloc_frame_in(FAST) {
            held.push(block);
        }
        for frame in held.drain(..).step_by(2) {
            arena.free_frame(frame);
        }
        let report = arena
            .migrate_block(moved, FAST, &owners, MigrateMode::Async)
            .expect("both are there");
        assert!(report.moved > 0, "{report:?}");
        let moves = arena.zone_moves(SLOW).expect("a zone");
        assert_eq!((moves.blocks_moved, moves.blocks_split), (0, 1));
        let nowhere = arena.migrate_block(FrameId(u32::MAX), SLOW, &owners, MigrateMode::Async);
        assert!(matches!(nowhere, Err(Error::InvalidRange { .. })));
    }
}
