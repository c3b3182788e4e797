//! What the models of frame migration share: the scene, its objects and frames, a migration beside
//! something else.

#![allow(dead_code, reason = "each test program uses a part")]

use crate::loom_support::{TestArena, handle_pool, validate};
use loom::sync::Arc;
use loom::thread;
use zs_mm::{
    Anywhere, Arena, FrameId, FrameStatus, MigrateMode, MigrateOptions, Movable, ZoneId, ZoneMoves,
};
use zs_os::testing::HeapBacking;
use zsmalloc::{Handle, HandlePool};

pub(crate) const LEN: usize = 1500;

pub(crate) type Pool = HandlePool<TestArena>;

pub(crate) fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 50_000;
    builder.check(scenario);
}

pub(crate) fn bytes(stamp: u8) -> Vec<u8> {
    vec![stamp; LEN]
}

/// Reads an object if it is still there: the bytes are all of one stamp.
pub(crate) fn read_stamp(pool: &Pool, handle: Handle) -> Option<u8> {
    let guard = pool.read(handle).ok()?;
    let mut buffer = vec![0; LEN];
    guard.copy_to(&mut buffer).expect("it fits");
    assert!(buffer.iter().all(|&byte| byte == buffer[0]), "torn");
    Some(buffer[0])
}

/// The frame that a zspage names at `entry`, of those that the arena commits first.
pub(crate) fn frame_at(arena: &Arena<HeapBacking>, entry: u8) -> FrameId {
    let is_there = |&frame: &FrameId| {
        let owner = arena
            .frame_descriptor(frame)
            .and_then(|found| found.owner());
        owner.is_some_and(|owner| owner.index == entry)
    };
    (0..8).map(FrameId).find(is_there).expect("attached")
}

pub(crate) fn migrate(pool: &Pool, frame: FrameId) -> FrameStatus {
    let [status] = migrate_all(pool, [frame], MigrateMode::Async);
    status
}

pub(crate) fn migrate_all<const N: usize>(
    pool: &Pool,
    frames: [FrameId; N],
    mode: MigrateMode,
) -> [FrameStatus; N] {
    let (arena, mut status) = (pool.arena(), [FrameStatus::Pending; N]);
    let options = MigrateOptions::new(mode);
    arena.migrate_pages(&frames, &[pool], &mut Anywhere(arena), options, &mut status);
    status
}

/// Moves a frame, and what was moved once more: back, if the first place is free again.
pub(crate) fn there_and_back(pool: &Pool, frame: FrameId) -> FrameStatus {
    let status = migrate(pool, frame);
    if let FrameStatus::Moved(there) = status {
        migrate(pool, there);
    }
    status
}

/// Objects in slots 0, 1, ..., stamped 1, 2, ...; and the list of draining frames has its memory.
pub(crate) fn filled<const N: usize>(pool: Pool) -> (Arc<Pool>, [Handle; N]) {
    let handles = core::array::from_fn(|slot| pool.insert(&bytes(slot as u8 + 1)).expect("room"));
    let arena = pool.arena();
    drop(
        arena
            .isolate(frame_at(arena, 0), &[&pool], false)
            .expect("at rest"),
    );
    (Arc::new(pool), handles)
}

pub(crate) fn scene<const N: usize>() -> (Arc<Pool>, [Handle; N]) {
    filled(handle_pool())
}

/// Runs `other` beside `mover`.
pub(crate) fn beside<T: 'static, M>(
    pool: &Arc<Pool>,
    other: impl FnOnce(&Pool) -> T + 'static,
    mover: impl FnOnce(&Pool) -> M,
) -> (T, M) {
    let thread = {
        let pool = Arc::clone(pool);
        thread::spawn(move || other(&pool))
    };
    let moved = mover(pool);
    (thread.join().expect("no panic"), moved)
}

/// Nothing is isolated any more, nor does anything drain, and everything adds up.
pub(crate) fn settled(pool: &Pool) -> ZoneMoves {
    pool.drain();
    validate(pool);
    let moves = pool.arena().zone_moves(ZoneId(0)).expect("a zone");
    assert_eq!((moves.isolated, moves.draining), (0, 0));
    moves
}
