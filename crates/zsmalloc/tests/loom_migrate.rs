//! Models of frame migration against everything that meets it, on the shipped modules.
//!
//! As in `loom_pool`: every interleaving of up to two preemptions, payload bytes tracked, and for
//! each model a mutation in `xtask/mutations.toml` under which it fails.
//!
//! The common scene: slots of 1536 bytes, eight to three frames; the object stamped 1 is in slot 0,
//! of the first frame alone. A frame that is moved twice comes back to where it was: so whoever
//! still reads the old place meets the second copy.
#![cfg(zs_loom)]

#[path = "loom_support/frames.rs"]
mod frames;
mod loom_support;

use frames::{
    Pool, beside, bytes, frame_at, migrate, migrate_all, model, read_stamp, scene, settled,
    there_and_back,
};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use zs_mm::{FrameStatus, MigrateMode, Movable};
use zsmalloc::{CompactBudget, Error, MapMode};

/// Of two that isolate a frame, one at a time has it.
#[test]
fn isolate_against_isolate() {
    model(|| {
        let (pool, _) = scene::<1>();
        let frame = frame_at(pool.arena(), 0);
        let inside = Arc::new(AtomicBool::new(false));
        let take = move |pool: &Pool, inside: &AtomicBool| {
            let Ok(token) = pool.arena().isolate(frame, &[pool], false) else {
                return false;
            };
            assert!(!inside.swap(true, Ordering::AcqRel), "isolated twice");
            inside.swap(false, Ordering::AcqRel);
            drop(token);
            true
        };
        let others = Arc::clone(&inside);
        let (theirs, mine) = beside(
            &pool,
            move |pool| take(pool, &others),
            |pool| take(pool, &inside),
        );
        assert!(theirs || mine, "somebody gets it");
        settled(&pool);
    });
}

/// Two migrations of one frame: what is in it is somewhere, once. (Neither waits, so each may find
/// the other's lock, and both give up.)
#[test]
fn two_movers() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        let (theirs, mine) = beside(
            &pool,
            move |pool| migrate(pool, frame),
            |pool| migrate(pool, frame),
        );
        let moved = |status| matches!(status, FrameStatus::Moved(_));
        assert_eq!(read_stamp(&pool, object), Some(1));
        let moves = settled(&pool);
        let sum = u64::from(moved(theirs)) + u64::from(moved(mine));
        assert_eq!((moves.moved_in, moves.moved_out), (sum, sum));
    });
}

/// Row Z4: the last object of a frame is freed while the frame is isolated; its memory comes back.
#[test]
fn z4_isolate_against_the_last_free() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        let (freed, _) = beside(
            &pool,
            move |pool| pool.free(object),
            |pool| drop(pool.arena().isolate(frame, &[pool], false)),
        );
        assert_eq!(freed, Ok(()));
        settled(&pool);
        pool.trim();
        assert_eq!(pool.arena().frames_in_use(), 0);
    });
}

/// The same, while the frame is moved.
#[test]
fn free_against_migrate() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        let (freed, _) = beside(
            &pool,
            move |pool| pool.free(object),
            |pool| migrate(pool, frame),
        );
        assert_eq!((freed, pool.free(object)), (Ok(()), Err(Error::Stale)));
        settled(&pool);
        pool.trim();
        assert_eq!(pool.arena().frames_in_use(), 0);
    });
}

/// Row M5: the frame is freed, and is another class's by the time it is isolated: same frame, same
/// record.
#[test]
fn m5_isolate_against_detach_and_reuse() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        let (new, _) = beside(
            &pool,
            move |pool| {
                pool.free(object).expect("live");
                pool.trim();
                pool.insert(&[2; 700]).expect("room")
            },
            |pool| drop(pool.arena().isolate(frame, &[pool], false)),
        );
        assert_eq!(pool.read(new).expect("live").spans().first, [2; 700]);
        settled(&pool);
    });
}

/// The frame that a class keeps back is given up by a trim, or by whoever isolated it.
#[test]
fn trim_against_isolate_of_the_spare() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        pool.free(object).expect("live");
        beside(
            &pool,
            |pool| pool.trim(),
            |pool| drop(pool.arena().isolate(frame, &[pool], false)),
        );
        settled(&pool);
        assert_eq!(pool.stats().frames, 0);
    });
}

/// A reader: it is not waited for, and reads the old place or the new one.
#[test]
fn read_against_migrate() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        let (read, status) = beside(
            &pool,
            move |pool| read_stamp(pool, object),
            |pool| there_and_back(pool, frame),
        );
        assert_eq!(read, Some(1));
        assert!(matches!(status, FrameStatus::Moved(_)), "{status:?}");
        settled(&pool);
    });
}

/// A reader that was inside before leaves while the old frame is looked at, and used anew.
#[test]
fn leave_against_drain() {
    model(|| {
        let (pool, [object]) = scene();
        let guard = pool.read(object).expect("live");
        let mover = move_there_and_back(&pool);
        assert!(guard.spans().first.iter().all(|&byte| byte == 1));
        drop(guard);
        mover.join().expect("no panic");
        assert_eq!(read_stamp(&pool, object), Some(1));
        settled(&pool);
    });
}

/// The same, of an object that was freed with the reader inside: who leaves finishes the free, at
/// the new place.
#[test]
fn last_leave_against_drain() {
    model(|| {
        let (pool, [object]) = scene();
        let guard = pool.read(object).expect("live");
        pool.free(object).expect("live");
        let mover = move_there_and_back(&pool);
        assert!(guard.spans().first.iter().all(|&byte| byte == 1));
        drop(guard);
        mover.join().expect("no panic");
        settled(&pool);
        pool.trim();
        assert_eq!(pool.arena().frames_in_use(), 0);
    });
}

fn move_there_and_back(pool: &Arc<Pool>) -> thread::JoinHandle<()> {
    let (pool, frame) = (Arc::clone(pool), frame_at(pool.arena(), 0));
    thread::spawn(move || {
        let status = there_and_back(&pool, frame);
        let gone = matches!(status, FrameStatus::Moved(_) | FrameStatus::Freed);
        assert!(gone, "{status:?}");
    })
}

/// An in-place write is not lost, and waits for the mover at most.
#[test]
fn write_against_migrate() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        let (written, _) = beside(
            &pool,
            move |pool| pool.write(object, 0, &bytes(9)),
            |pool| migrate(pool, frame),
        );
        assert_eq!(written, Ok(()));
        assert_eq!(read_stamp(&pool, object), Some(9));
        settled(&pool);
    });
}

/// What a mapping writes back is not lost.
#[test]
fn map_against_migrate() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        beside(
            &pool,
            move |pool| {
                let mut buffer = bytes(0);
                let mut mapping = pool
                    .map(object, MapMode::ReadWrite, &mut buffer)
                    .expect("alone");
                mapping.bytes_mut().expect("for writing").fill(9);
            },
            |pool| there_and_back(pool, frame),
        );
        assert_eq!(read_stamp(&pool, object), Some(9));
        settled(&pool);
    });
}

/// An insert takes a slot of the frame that is moved.
#[test]
fn insert_against_migrate() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        let (new, _) = beside(
            &pool,
            |pool| pool.insert(&bytes(2)).expect("room"),
            |pool| migrate(pool, frame),
        );
        assert_eq!(read_stamp(&pool, object), Some(1));
        assert_eq!(read_stamp(&pool, new), Some(2));
        settled(&pool);
    });
}

/// Row Z15: a frame that holds only free slots, of which an insert takes one. (The object in slot 2
/// has bytes in the second frame too; the frame stays as the one that the class keeps back.)
#[test]
fn z15_insert_against_migrate_of_a_bare_frame() {
    model(|| {
        let (pool, [first, second, gone]) = scene();
        pool.free(gone).expect("live");
        let frame = frame_at(pool.arena(), 1);
        let (new, _) = beside(
            &pool,
            |pool| pool.insert(&bytes(4)).expect("room"),
            |pool| migrate(pool, frame),
        );
        let stamps = [first, second, new].map(|handle| read_stamp(&pool, handle));
        assert_eq!(stamps, [Some(1), Some(2), Some(4)]);
        settled(&pool);
    });
}

/// New contents for an object whose frame is moved: into the same frame, by a slot that no word
/// names yet.
#[test]
fn replace_against_migrate() {
    model(|| {
        let (pool, [object]) = scene();
        let frame = frame_at(pool.arena(), 0);
        let (replaced, _) = beside(
            &pool,
            move |pool| pool.replace(object, &bytes(9)),
            |pool| migrate(pool, frame),
        );
        assert_eq!(replaced.map(|_| ()), Ok(()));
        assert_eq!(read_stamp(&pool, object), Some(9));
        settled(&pool);
    });
}

/// Compaction moves the object in slot 2, which lies in the first two frames, to slot 0; a frame is
/// moved.
fn beside_a_compaction(entry: u8) {
    let (pool, [hole, low, high]) = scene();
    pool.free(hole).expect("live");
    let frame = frame_at(pool.arena(), entry);
    beside(
        &pool,
        |pool| pool.compact(CompactBudget::objects(1)),
        move |pool| there_and_back(pool, frame),
    );
    assert_eq!(read_stamp(&pool, low), Some(2));
    assert_eq!(read_stamp(&pool, high), Some(3));
    settled(&pool);
}

#[test]
fn compact_against_migrate_of_its_destination() {
    model(|| beside_a_compaction(0));
}

#[test]
fn compact_against_migrate_of_its_source() {
    model(|| beside_a_compaction(1));
}

/// An object over two frames, which are isolated, locked, copied and handed over together.
#[test]
fn write_against_both_frames_moved_together() {
    model(|| {
        let (pool, [first, _, object]) = scene();
        let frames = [0, 1].map(|entry| frame_at(pool.arena(), entry));
        let (written, _) = beside(
            &pool,
            move |pool| pool.write(object, 0, &bytes(9)),
            |pool| migrate_all(pool, frames, MigrateMode::SyncNoCopy),
        );
        assert_eq!(written, Ok(()));
        assert_eq!(read_stamp(&pool, object), Some(9));
        assert_eq!(read_stamp(&pool, first), Some(1));
        settled(&pool);
    });
}

/// Two look at one old frame while its reader leaves: it is freed once, and not before.
#[test]
fn drain_against_drain() {
    model(|| {
        let (pool, [object]) = scene();
        let guard = pool.read(object).expect("live");
        let status = migrate(&pool, frame_at(pool.arena(), 0));
        assert!(matches!(status, FrameStatus::Moved(_)), "{status:?}");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.drain())
        };
        drop(guard);
        pool.drain();
        other.join().expect("no panic");
        settled(&pool);
        assert_eq!(pool.arena().frames_in_use(), 1);
    });
}
