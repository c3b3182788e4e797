//! In a forked child nothing that takes a lock is begun.

#![cfg(not(zs_loom))]

mod common;

use common::objects::Objects;
use common::still_host;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use zs_mm::{
    Advice, Arena, ArenaOptions, Backing, BackingError, Balloon, CompactOptions, CompactReport,
    Error, FrameId, MigrateMode, RegionKind, ZoneId,
};
use zs_os::testing::HeapBacking;

/// A backing that says which process this is.
#[derive(Debug)]
struct Says(HeapBacking, AtomicU64);

// SAFETY: all that matters is left to another backing.
unsafe impl Backing for Says {
    fn granule(&self) -> usize {
        self.0.granule()
    }

    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        self.0.reserve(kind, len, align)
    }

    unsafe fn release(&self, kind: RegionKind, place: NonNull<u8>, len: usize) {
        // SAFETY: by the same contract.
        unsafe { self.0.release(kind, place, len) };
    }

    unsafe fn commit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: by the same contract.
        unsafe { self.0.commit(kind, place, len) }
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        // SAFETY: by the same contract.
        unsafe { self.0.decommit(kind, place, len) }
    }

    unsafe fn advise(&self, place: NonNull<u8>, len: usize, advice: Advice) {
        // SAFETY: by the same contract.
        unsafe { self.0.advise(place, len, advice) };
    }

    fn process(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }
}

#[test]
fn a_child_is_refused() {
    let backing = Says(HeapBacking::new(4096), AtomicU64::new(1));
    let arena = Arena::new(backing, still_host(), ArenaOptions::new(8 << 20)).expect("an arena");
    let objects = Objects::full(&arena, 700);
    let block = arena.alloc_contiguous(4, &[&objects]).expect("room");
    let zone = ZoneId(0);
    let balloon = Balloon::new(&arena).expect("a balloon");
    assert_eq!(balloon.inflate(3), Ok(3));
    let before = arena.stats();
    arena.backing().1.store(2, Ordering::Relaxed);
    let refused = Some(Error::Forked);
    let options = CompactOptions::new(MigrateMode::Async);
    assert_eq!(arena.alloc_contiguous(0, &[&objects]).err(), refused);
    assert_eq!(arena.alloc_range(FrameId(0), 1, &[&objects]).err(), refused);
    assert_eq!(arena.alloc_frame_in(zone).err(), refused);
    assert_eq!(arena.set_limit(4 << 20).err(), refused);
    assert_eq!(arena.offline_frame(FrameId(0), &[&objects]).err(), refused);
    assert_eq!(arena.offline_zone(zone, &[&objects]).err(), refused);
    assert_eq!(arena.online_zone(zone).err(), refused);
    assert_eq!(
        arena.compact_zone(zone, &[&objects], options).err(),
        refused
    );
    assert_eq!(arena.fragmentation(zone).err(), refused);
    assert_eq!(arena.is_online(zone).err(), refused);
    assert_eq!(arena.blocks().count(), 0);
    let proactive = arena.compact_proactive(&[&objects], &|| true);
    assert_eq!(proactive, CompactReport::default());
    assert_eq!(balloon.inflate(9).err(), refused);
    assert_eq!((balloon.deflate(1), balloon.frames()), (0, 0));
    arena.free_contiguous(block);
    assert_eq!(arena.stats(), before);
    arena.backing().1.store(1, Ordering::Relaxed);
    assert_eq!(balloon.frames(), 3);
}
