//! Frames that move under live objects: a module for each row of the list of known failures.
#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

mod m12_attributes_survive;
mod m1_isolated_is_zero;
mod m3_ones_own_isolated_frames;
mod m4_kinds_are_tags;
mod z22_isolate_and_free_all;
mod z23_long_reader;
mod z5_pool_gone_while_isolated;
mod z6_counters_follow_frames;
mod z9_longest_chain;
mod zeroed;

use zs_mm::{
    Anywhere, ArenaOptions, Descriptor, Destination, FrameId, FrameStatus, InZone, MigrateMode,
    MigrateOptions, MigrateReport, Movable, PageSize, ZoneId, ZoneSpecs,
};
use zs_model::{TestArena, World, pattern, sound};
use zsmalloc::{Client, Handle, HandlePool, Pool, PoolOptions};

type TestPool<'a> = HandlePool<&'a TestArena>;

/// An arena of three zones of four pageblocks each.
fn arena(page_size: PageSize) -> TestArena {
    let options = ArenaOptions {
        page_size,
        zones: ZoneSpecs::normal(3),
        ..ArenaOptions::new(24 << 20)
    };
    World::with_options(options, 4096).expect("an arena").0
}

fn pool(arena: &TestArena) -> TestPool<'_> {
    Pool::new(arena, PoolOptions::named("moving")).expect("a pool")
}

/// Objects of every length, some 60 frames of them; object `n` holds the pattern of `n`.
fn filled(pool: &TestPool<'_>) -> Vec<Handle> {
    let page = pool.geometry().page_size().bytes();
    let len = |n: usize| 1 + n * 997 % page;
    let insert = |n| pool.insert(&pattern(n as u64, len(n))).expect("room");
    (0..120).map(insert).collect()
}

/// All objects of [`filled`] are as they were.
fn check(pool: &TestPool<'_>, objects: &[Handle]) {
    let mut buffer = vec![0; pool.geometry().page_size().bytes()];
    for (n, &handle) in objects.iter().enumerate() {
        let len = pool.read_into(handle, &mut buffer).expect("live");
        assert!(buffer[..len] == pattern(n as u64, len), "object {n}");
    }
}

/// The frames that pools own.
fn owned(arena: &TestArena) -> Vec<FrameId> {
    let all = (0..).map(FrameId);
    let descriptors = all.map_while(|id| Some((id, arena.frame_descriptor(id)?.owner())));
    let owned = descriptors.filter(|(_, owner)| owner.is_some());
    owned.map(|(id, _)| id).collect()
}

/// The frame in which an object begins.
fn frame_of<C: Client>(pool: &Pool<&TestArena, C>, key: C::Key) -> FrameId {
    let guard = pool.read(key).expect("live");
    // SAFETY: no byte is borrowed, only the place where the payload starts.
    let base = unsafe { pool.arena().payload().bytes(0, 0) }
        .as_ptr()
        .addr();
    let offset = guard.spans().first.as_ptr().addr() - base;
    FrameId((offset >> pool.geometry().page_size().shift()) as u32)
}

/// Moves frames to a zone, or anywhere.
fn move_frames(
    arena: &TestArena,
    frames: &[FrameId],
    owners: &[&dyn Movable],
    mode: MigrateMode,
    zone: Option<u32>,
) -> (MigrateReport, Vec<FrameStatus>) {
    let mut status = vec![FrameStatus::Pending; frames.len()];
    let options = MigrateOptions::new(mode);
    let report = match zone {
        None => arena.migrate_pages(frames, owners, &mut Anywhere(arena), options, &mut status),
        Some(zone) => {
            let to: &mut dyn Destination = &mut InZone(arena, ZoneId(zone));
            arena.migrate_pages(frames, owners, to, options, &mut status)
        }
    };
    (report, status)
}

/// Frames that are isolated, and frames that drain, in all zones.
fn underway(arena: &TestArena) -> (u64, u64) {
    let moves = arena.zones().filter_map(|zone| arena.zone_moves(zone));
    moves.fold((0, 0), |(isolated, draining), zone| {
        (isolated + zone.isolated, draining + zone.draining)
    })
}

/// Nothing is isolated, nothing drains, and everything adds up.
fn settled<C: Client>(arena: &TestArena, pools: &[Pool<&TestArena, C>]) {
    pools.iter().for_each(Movable::drain);
    assert_eq!(underway(arena), (0, 0));
    sound(arena, pools).expect("sound");
}

fn is_free(arena: &TestArena, frame: FrameId) -> bool {
    arena.frame_descriptor(frame) == Some(Descriptor::FREE)
}
