//! What a call that moves frames asks of whom, and when.

#![cfg(not(zs_loom))]

use crate::common::objects::Objects;
use crate::common::{check, still_host};
use std::sync::atomic::Ordering;
use zs_mm::{
    Anywhere, Arena, ArenaOptions, Backing, Destination, Frame, FrameId, MigrateMode,
    MigrateOptions, ZoneId, ZoneSpecs,
};
use zs_os::testing::StrictBacking;

/// Notes how many calls of `prepare` there have been when a frame is asked for.
struct Notes<'a, B: Backing> {
    to: Anywhere<'a, B>,
    objects: &'a Objects<'a, B>,
    busy: Vec<u32>,
}

impl<B: Backing> Destination for Notes<'_, B> {
    fn frame_for(&mut self, source: FrameId) -> Option<Frame> {
        self.busy.push(self.objects.busy.load(Ordering::Relaxed));
        self.to.frame_for(source)
    }

    fn unused(&mut self, frame: Frame) {
        self.to.unused(frame);
    }
}

#[test]
fn no_frame_is_locked_while_others_are_asked_for() {
    const FRAMES: usize = 8;
    let options = ArenaOptions::new(8 << 20);
    let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
    let objects = Objects::full(&arena, FRAMES);
    let frames: Vec<_> = (0..FRAMES).filter_map(|slot| objects.frame(slot)).collect();
    objects.busy.store(FRAMES as u32, Ordering::Relaxed);
    let mut notes = Notes {
        to: Anywhere(&arena),
        objects: &objects,
        busy: Vec::new(),
    };
    let options = MigrateOptions::new(MigrateMode::SyncNoCopy);
    let report = arena.migrate_pages(&frames, &[&objects], &mut notes, options, &mut []);
    assert_eq!(report.moved, FRAMES as u64, "one by one in the end");
    // A frame is locked when its owner is asked whether it is ready.
    let together = &notes.busy[..FRAMES];
    assert_eq!(together, [FRAMES as u32; FRAMES]);
    assert_eq!(objects.check(), FRAMES);
    check(&arena, 0);
}

#[test]
fn draining_needs_a_frame_of_the_arena() {
    let options = ArenaOptions::new(8 << 20);
    let arena = Arena::new(StrictBacking::new(), still_host(), options).expect("an arena");
    let key = arena.join().expect("a key");
    for frame in [0, 2048, u32::MAX].map(FrameId) {
        assert!(!arena.begin_drain(frame, &key, key.owner(0, 0, 0)));
        assert!(arena.end_drain(frame, &key, key.owner(0, 0, 0)).is_none());
    }
    arena.leave(key);
    check(&arena, 0);
}

#[test]
fn only_the_owners_frames_are_asked_for() {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        ..ArenaOptions::new(8 << 20)
    };
    let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
    let (cold, warm) = (Objects::full(&arena, 40), Objects::full(&arena, 40));
    let (from, to) = (ZoneId(0), ZoneId(1));
    let mut asked = Vec::new();
    let report = arena.demote(from, to, &[&cold], u64::MAX, |frame, _| {
        asked.push(frame);
        true
    });
    let report = report.expect("zones");
    assert_eq!((report.moved, report.not_moved, asked.len()), (40, 0, 40));
    assert_eq!((cold.check(), warm.check()), (40, 40));
    // A pageblock without anything in use is no block that was moved.
    let empty = arena.migrate_block(FrameId(512), to, &[&cold], MigrateMode::Async);
    assert_eq!(empty, Ok(zs_mm::MigrateReport::default()));
    assert_eq!(arena.zone_moves(from).expect("a zone").blocks_moved, 0);
    check(&arena, 0);
}
