//! Models of frames that change hands: through caches, zones, the limit and the backing.
//!
//! Payload bytes are tracked cells, so a frame in two hands at once, or one whose last owner's
//! writes are not ordered before the next owner's, is reported.
#![cfg(zs_loom)]

use loom::sync::Arc;
use loom::thread;
use zs_mm::{Arena, ArenaOptions, Error};
use zs_os::testing::HeapBacking;
use zs_sync::{AtomicU64, Ordering, SpinHost};

type TestArena = Arena<HeapBacking>;

const PAGE: usize = 4096;

/// Blocks of four frames; metadata is committed by 64 bytes.
fn arena(frames: u64) -> TestArena {
    static HOST: SpinHost = SpinHost;
    let structure = size_of::<TestArena>() as u64 + 1024;
    let limit = frames * PAGE as u64 + structure;
    Arena::new(HeapBacking::new(64), &HOST, ArenaOptions::new(limit)).expect("an arena")
}

/// Allocates a frame, writes a stamp and reads it back, frees it. `None` without memory.
fn use_a_frame(arena: &TestArena, stamp: u8) -> Option<()> {
    let frame = arena.alloc_frame().ok()?;
    let start = frame.id().index() * PAGE;
    // SAFETY: the frame is this thread's alone, and committed.
    unsafe { arena.payload().write(start, &[stamp; 32]) };
    // SAFETY: as above, and the borrow ends before the frame is freed.
    let bytes = unsafe { arena.payload().bytes(start, 32) };
    assert_eq!(bytes, [stamp; 32]);
    arena.free_frame(frame);
    Some(())
}

/// Two threads that allocate, use and free: no frame is in two hands.
#[test]
fn two_users_of_one_cache() {
    loom::model(|| {
        let arena = Arc::new(arena(6));
        let other = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || use_a_frame(&arena, 1))
        };
        assert_eq!(use_a_frame(&arena, 2), Some(()));
        assert_eq!(other.join().expect("no panic"), Some(()));
        assert_eq!(arena.frames_in_use(), 0);
        arena.validate(0).expect("a valid arena");
    });
}

/// A trim that gives frames back while another thread allocates them.
#[test]
fn trim_against_alloc() {
    loom::model(|| {
        let arena = Arc::new(arena(6));
        assert_eq!(use_a_frame(&arena, 1), Some(()));
        let other = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || use_a_frame(&arena, 2))
        };
        arena.trim();
        assert_eq!(other.join().expect("no panic"), Some(()));
        arena.trim();
        assert_eq!(arena.stats().cached, 0);
        arena.validate(0).expect("a valid arena");
    });
}

/// Two threads at a limit of one frame: held never passes it, and what was refused is not lost.
#[test]
fn two_users_at_the_limit() {
    loom::model(|| {
        let arena = Arc::new(arena(4));
        let kept: Vec<_> = (0..3).filter_map(|_| arena.alloc_frame().ok()).collect();
        let other = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || use_a_frame(&arena, 1))
        };
        let mine = use_a_frame(&arena, 2);
        let others = other.join().expect("no panic");
        assert!(
            mine.is_some() || others.is_some(),
            "one of them had its turn"
        );
        let stats = arena.stats();
        assert!(stats.peak <= stats.limit, "{stats:?}");
        for frame in kept {
            arena.free_frame(frame);
        }
        arena.validate(0).expect("a valid arena");
    });
}

/// A limit is lowered and raised while another thread charges: what that takes and gives back is in
/// no peak.
#[test]
fn charge_against_a_change_of_the_limit() {
    loom::model(|| {
        let arena = Arc::new(arena(6));
        let (before, limit) = (arena.stats().held, arena.stats().limit);
        let other = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || {
                arena.set_limit(limit - 2 * PAGE as u64).expect("room");
                arena.set_limit(limit).expect("as it was");
            })
        };
        let charge = arena.charge(64).expect("room");
        arena.uncharge(charge);
        other.join().expect("no panic");
        let stats = arena.stats();
        assert!(stats.peak <= before + 64, "{stats:?}, {before} before");
        assert_eq!((stats.held, stats.limit), (before, limit));
    });
}

/// Two threads that commit one table: it is charged once.
#[test]
fn a_table_grown_by_two() {
    loom::model(|| {
        let arena = Arc::new(arena(6));
        let table = Arc::new(arena.reserve_table::<AtomicU64>(16).expect("room"));
        let grow = |index: usize| {
            let (arena, table) = (Arc::clone(&arena), Arc::clone(&table));
            move || {
                arena.ensure(&table, index)?;
                table.at(index).store(7, Ordering::Relaxed);
                Ok::<(), Error>(())
            }
        };
        let other = thread::spawn(grow(3));
        grow(12)().expect("room");
        other.join().expect("no panic").expect("room");
        assert_eq!(table.committed_bytes(), 128);
        arena
            .validate(table.committed_bytes())
            .expect("a valid arena");
    });
}
