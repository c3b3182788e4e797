//! Models of frames that are isolated and moved, with owners of this crate: the frame lock, a
//! balloon.
#![cfg(zs_loom)]

use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;
use zs_mm::{
    Anywhere, Arena, ArenaOptions, Balloon, Frame, FrameId, FrameLock, FrameOwner, FrameStatus,
    MigrateMode, MigrateOptions, Movable, PoolKey, Prepared, PutBack, ZoneId,
};
use zs_os::testing::HeapBacking;
use zs_sync::SpinHost;

type TestArena = Arena<HeapBacking>;

const PAGE: u64 = 4096;

/// Blocks of four frames; metadata is committed by 64 bytes.
fn arena() -> Arc<TestArena> {
    static HOST: SpinHost = SpinHost;
    let options = ArenaOptions::new(16 * PAGE);
    Arc::new(Arena::new(HeapBacking::new(64), &HOST, options).expect("an arena"))
}

fn migrate(arena: &TestArena, frame: FrameId, owner: &dyn Movable) -> FrameStatus {
    let mut status = [FrameStatus::Pending];
    let options = MigrateOptions::new(MigrateMode::Async);
    arena.migrate_pages(
        &[frame],
        &[owner],
        &mut Anywhere(arena),
        options,
        &mut status,
    );
    status[0]
}

/// Nothing is isolated, and everything adds up.
fn settled(arena: &TestArena, foreign: u64) {
    let moves = arena.zone_moves(ZoneId(0)).expect("a zone");
    assert_eq!((moves.isolated, moves.draining), (0, 0));
    arena.validate(foreign).expect("a valid arena");
}

/// An owner that keeps what it knows of its one frame under the frame's lock alone.
#[derive(Debug)]
struct OneFrame {
    key: PoolKey,
    isolated: UnsafeCell<bool>,
}

// SAFETY: loom reports every pair of accesses to the cell that nothing orders.
unsafe impl Sync for OneFrame {}
// SAFETY: as above.
unsafe impl Send for OneFrame {}

impl OneFrame {
    fn set(&self, isolated: bool) -> bool {
        // SAFETY: under the frame's lock; loom reports it if that does not keep others away.
        self.isolated
            .with_mut(|cell| unsafe { cell.replace(isolated) })
    }
}

// SAFETY: nobody reads or writes the frame, and it is never moved.
unsafe impl Movable for OneFrame {
    fn key(&self) -> &PoolKey {
        &self.key
    }

    fn isolate(&self, _lock: &FrameLock<'_>, _owner: FrameOwner) -> bool {
        !self.set(true)
    }

    fn prepare(&self, _lock: &FrameLock<'_>, _owner: FrameOwner) -> Prepared {
        assert!(self.set(true), "prepared by whoever isolated it");
        Prepared::Busy
    }

    fn commit(&self, _lock: &FrameLock<'_>, _owner: FrameOwner, to: Frame) -> Option<Frame> {
        Some(to)
    }

    fn putback(&self, _lock: &FrameLock<'_>, _owner: FrameOwner) -> PutBack {
        assert!(self.set(false), "put back by whoever isolated it");
        PutBack::Kept
    }
}

/// What an owner does for a frame is done under the frame's lock, by one thread at a time.
#[test]
fn two_movers_of_one_frame_meet_at_its_lock() {
    loom::model(|| {
        let arena = arena();
        let owner = Arc::new(OneFrame {
            key: arena.join().expect("room"),
            isolated: UnsafeCell::new(false),
        });
        let frame = arena.alloc_frame().expect("room");
        let frame = arena.assign(frame, owner.key(), owner.key().owner(0, 0, 0));
        let other = {
            let (arena, owner) = (Arc::clone(&arena), Arc::clone(&owner));
            thread::spawn(move || drop(arena.isolate(frame, &[&*owner], true)))
        };
        let status = migrate(&arena, frame, &*owner);
        let refused = [FrameStatus::Busy, FrameStatus::AlreadyIsolated].contains(&status);
        assert!(refused, "{status:?}");
        other.join().expect("no panic");
        settled(&arena, 0);
    });
}

/// A balloon that grows while somebody else empties it.
#[test]
fn inflate_against_deflate() {
    loom::model(|| {
        let arena = arena();
        let balloon = Arc::new(Balloon::new(Arc::clone(&arena)).expect("a balloon"));
        let other = {
            let balloon = Arc::clone(&balloon);
            thread::spawn(move || balloon.inflate(1))
        };
        balloon.deflate(0);
        assert_eq!(other.join().expect("no panic"), Ok(1));
        assert_eq!(arena.frames_in_use(), balloon.frames());
        balloon.deflate(0);
        assert_eq!(arena.frames_in_use(), 0);
        settled(&arena, balloon.metadata_bytes());
    });
}

/// A frame of a balloon goes back while it is moved.
#[test]
fn deflate_against_migrate() {
    loom::model(|| {
        let arena = arena();
        let balloon = Arc::new(Balloon::new(Arc::clone(&arena)).expect("a balloon"));
        assert_eq!(balloon.inflate(1), Ok(1));
        let other = {
            let balloon = Arc::clone(&balloon);
            thread::spawn(move || balloon.deflate(0))
        };
        migrate(&arena, FrameId(0), &*balloon);
        other.join().expect("no panic");
        assert_eq!((balloon.frames(), arena.frames_in_use()), (0, 0));
        settled(&arena, balloon.metadata_bytes());
    });
}
