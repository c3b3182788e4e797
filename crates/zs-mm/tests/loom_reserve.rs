//! Models of blocks that are reserved: what is free in them is the reserver's, what comes back stays.
//!
//! Blocks of four frames. As in `loom_frames`, payload bytes are tracked, so a frame in two hands is reported.
#![cfg(zs_loom)]

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::sync::Mutex;
use zs_mm::{
    Arena, ArenaOptions, Contiguous, Error, Frame, FrameId, FrameLock, FrameOwner, FrameStatus,
    Movable, PoolKey, Prepared, PutBack,
};
use zs_os::testing::HeapBacking;
use zs_sync::SpinHost;

type TestArena = Arena<HeapBacking>;

const PAGE: usize = 4096;

/// Two blocks, and room for all of their frames.
fn arena() -> TestArena {
    static HOST: SpinHost = SpinHost;
    let structure = size_of::<TestArena>() as u64 + 1024;
    let options = ArenaOptions::new(8 * PAGE as u64 + structure);
    Arena::new(HeapBacking::new(64), &HOST, options).expect("an arena")
}

/// Writes a stamp into a frame that is the caller's alone, and reads it back.
fn stamp(arena: &TestArena, frame: FrameId, stamp: u8) {
    let start = frame.index() * PAGE;
    // SAFETY: the frame is this thread's alone, and committed.
    unsafe { arena.payload().write(start, &[stamp; 32]) };
    // SAFETY: as above, and nobody writes while the bytes are borrowed.
    let bytes = unsafe { arena.payload().bytes(start, 32) };
    assert_eq!(bytes, [stamp; 32]);
}

fn use_a_frame(arena: &TestArena, mark: u8) {
    let frame = arena.alloc_frame().expect("there is room for all");
    stamp(arena, frame.id(), mark);
    arena.free_frame(frame);
}

fn use_contiguous(arena: &TestArena, contiguous: Contiguous, mark: u8) {
    for frame in 0..contiguous.frames() {
        stamp(arena, FrameId(contiguous.first().0 + frame), mark);
    }
    arena.free_contiguous(contiguous);
}

/// An owner of nothing, who waits for a thread when it is asked what drains.
struct Waits {
    key: Option<PoolKey>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Waits {
    fn wait(&self) {
        if let Some(thread) = self.thread.lock().expect("one thread").take() {
            thread.join().expect("no panic");
        }
    }
}

// SAFETY: no frame is this owner's, so it is called for none.
unsafe impl Movable for Waits {
    fn key(&self) -> &PoolKey {
        self.key.as_ref().expect("until the end")
    }

    fn isolate(&self, _frame: &FrameLock<'_>, _owner: FrameOwner) -> bool {
        unreachable!("owns nothing")
    }

    fn prepare(&self, _frame: &FrameLock<'_>, _owner: FrameOwner) -> Prepared {
        unreachable!("owns nothing")
    }

    fn commit(&self, _frame: &FrameLock<'_>, _owner: FrameOwner, _to: Frame) -> Option<Frame> {
        unreachable!("owns nothing")
    }

    fn putback(&self, _frame: &FrameLock<'_>, _owner: FrameOwner) -> PutBack {
        unreachable!("owns nothing")
    }

    fn drain(&self) {
        self.wait();
    }
}

/// A block is taken while another thread allocates and frees a frame. Whoever had one of its frames before it
/// was reserved gives it back to the block, not to a cache; and nobody gets one after. So once that thread is
/// through, the block can be had.
#[test]
fn reserve_against_alloc_and_free() {
    loom::model(|| {
        let arena = Arc::new(arena());
        // One frame lies in the cache, the others in the zone.
        use_a_frame(&arena, 1);
        let other = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || use_a_frame(&arena, 2))
        };
        let mut waits = Waits {
            key: Some(arena.join().expect("a pool")),
            thread: Mutex::new(Some(other)),
        };
        let block = arena.alloc_range(FrameId(0), 4, &[&waits]);
        use_contiguous(&arena, block.expect("the other thread is through"), 3);
        waits.wait();
        arena.leave(waits.key.take().expect("once"));
        assert_eq!(arena.frames_in_use(), 0);
        arena.validate(0).expect("a valid arena");
    });
}

/// A range is taken while another thread uses a frame and gives everything back to the system.
#[test]
fn reserve_against_trim() {
    loom::model(|| {
        let arena = Arc::new(arena());
        use_a_frame(&arena, 1);
        let other = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || {
                arena.trim();
                use_a_frame(&arena, 2);
            })
        };
        match arena.alloc_range(FrameId(1), 2, &[]) {
            Ok(range) => use_contiguous(&arena, range, 3),
            Err(error) => assert!(
                matches!(
                    error,
                    Error::InTheWay {
                        status: FrameStatus::Busy,
                        ..
                    }
                ),
                "{error}"
            ),
        }
        other.join().expect("no panic");
        assert_eq!(arena.frames_in_use(), 0);
        arena.validate(0).expect("a valid arena");
    });
}
