//! Models of blocks that are reserved: what is free in them is the reserver's, what comes back
//! stays; and of frames and zones that go offline.
//!
//! Blocks of four frames. As in `loom_frames`, payload bytes are tracked, so a frame in two hands
//! is reported.
#![cfg(zs_loom)]

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::sync::Mutex;
use zs_mm::{
    Arena, ArenaOptions, Contiguous, Error, Frame, FrameId, FrameLock, FrameOwner, FrameStatus,
    FrameType, Movable, PoolKey, Prepared, PutBack, ZoneId, ZoneSpecs,
};
use zs_os::testing::HeapBacking;
use zs_sync::SpinHost;

type TestArena = Arena<HeapBacking>;

const PAGE: usize = 4096;

/// Two blocks, and room for all of their frames.
fn arena(zones: usize) -> TestArena {
    static HOST: SpinHost = SpinHost;
    let structure = size_of::<TestArena>() as u64 + 1024;
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(zones),
        ..ArenaOptions::new(8 * PAGE as u64 + structure)
    };
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
    /// Waits for a new thread that uses a frame.
    fn for_a_user(arena: &Arc<TestArena>) -> Self {
        let other = Arc::clone(arena);
        let thread = thread::spawn(move || use_a_frame(&other, 2));
        Self {
            key: Some(arena.join().expect("a pool")),
            thread: Mutex::new(Some(thread)),
        }
    }

    fn wait(&self) {
        if let Some(thread) = self.thread.lock().expect("one thread").take() {
            thread.join().expect("no panic");
        }
    }

    fn end(mut self, arena: &TestArena) {
        self.wait();
        arena.leave(self.key.take().expect("until now"));
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

/// A block is taken while another thread allocates and frees a frame. Whoever had one of its frames
/// before it was reserved gives it back to the block, not to a cache; and nobody gets one after. So
/// once that thread is through, the block can be had.
#[test]
fn reserve_against_alloc_and_free() {
    loom::model(|| {
        let arena = Arc::new(arena(1));
        // One frame lies in the cache, the others in the zone.
        use_a_frame(&arena, 1);
        let waits = Waits::for_a_user(&arena);
        let block = arena.alloc_range(FrameId(0), 4, &[&waits]);
        use_contiguous(&arena, block.expect("the other thread is through"), 3);
        waits.end(&arena);
        assert_eq!(arena.frames_in_use(), 0);
        arena.validate(0).expect("a valid arena");
    });
}

/// A range is taken while another thread uses a frame and gives everything back to the system.
#[test]
fn reserve_against_trim() {
    loom::model(|| {
        let arena = Arc::new(arena(1));
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

/// The types of a zone's frames.
fn all_are(arena: &TestArena, zone: ZoneId, frame_type: FrameType) -> bool {
    let frames = arena.zone_frames(zone).expect("a zone");
    (frames.start.0..frames.end.0).all(|frame| {
        let descriptor = arena.frame_descriptor(FrameId(frame));
        descriptor.expect("in the arena").frame_type() == frame_type
    })
}

/// A zone goes offline while another thread uses a frame. Once that thread is through with what it
/// had, it goes; then nobody has a frame of it, nor gets one.
#[test]
fn offline_against_alloc() {
    loom::model(|| {
        let arena = Arc::new(arena(2));
        let zone = ZoneId(0);
        use_a_frame(&arena, 1);
        let waits = Waits::for_a_user(&arena);
        let outcome = arena.offline_zone(zone, &[&waits]);
        assert_eq!(outcome, Ok(()), "the other thread is through");
        assert!(all_are(&arena, zone, FrameType::Free), "nobody has one");
        waits.end(&arena);
        let frame = arena.alloc_frame().expect("room in the other zone");
        assert_eq!(arena.zone_of_frame(frame.id()), Some(ZoneId(1)));
        arena.free_frame(frame);
        arena.trim();
        assert_eq!(arena.stats().held, arena.stats().metadata);
        arena.validate(0).expect("a valid arena");
    });
}

/// A frame goes offline while another thread uses one: when that is through with it, if it was
/// this.
#[test]
fn offline_of_a_frame_against_alloc() {
    loom::model(|| {
        let arena = Arc::new(arena(1));
        use_a_frame(&arena, 1);
        let waits = Waits::for_a_user(&arena);
        let outcome = arena.offline_frame(FrameId(0), &[&waits]);
        assert_eq!(outcome, Ok(()), "the other thread is through");
        waits.end(&arena);
        let descriptor = arena.frame_descriptor(FrameId(0)).expect("in the arena");
        assert_eq!(descriptor.frame_type(), FrameType::Offline);
        use_a_frame(&arena, 3);
        arena.validate(0).expect("a valid arena");
    });
}
