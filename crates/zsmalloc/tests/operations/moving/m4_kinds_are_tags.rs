//! Row M4: a frame's kind was told by the low bits of a pointer, and misread. Kinds are tags of the
//! descriptor, and each frame is refused as what it is.

use super::{arena, check, filled, move_frames, owned, pool, settled};
use std::panic::{AssertUnwindSafe, catch_unwind};
use zs_mm::{
    Anywhere, Descriptor, FrameId, FrameStatus, FrameType, MigrateMode, MigrateOptions, Movable,
    PageSize,
};

#[test]
fn m4_each_frame_is_refused_as_what_it_is() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pools = [pool(&arena), pool(&arena)];
        let [first, second] = &pools;
        filled(first);
        let others = owned(&arena);
        let theirs = second.insert(&[1; 100]).expect("room");
        let owner = Movable::key(second).pool();
        let of_second = |frame: &FrameId| {
            let found = arena.frame_descriptor(*frame).and_then(Descriptor::owner);
            found.is_some_and(|found| found.pool == owner)
        };
        let frame_of_second = owned(&arena).into_iter().find(of_second).expect("one");
        let unowned = arena.alloc_frame().expect("room");
        let nobodys = arena.frame_descriptor(unowned.id()).expect("a frame");
        assert_eq!(
            (nobodys.frame_type(), nobodys.owner()),
            (FrameType::Zspage, None)
        );
        let free = arena.alloc_frame().expect("room");
        let freed = free.id();
        arena.free_frame(free);
        let list = [
            frame_of_second,
            unowned.id(),
            freed,
            FrameId(u32::MAX),
            others[0],
        ];
        for mode in [
            MigrateMode::Async,
            MigrateMode::Sync,
            MigrateMode::SyncNoCopy,
        ] {
            let (_, status) = move_frames(&arena, &list, &[], mode, None);
            let expected = [
                FrameStatus::NotMovable,
                FrameStatus::Busy,
                FrameStatus::NotInUse,
                FrameStatus::NoSuchFrame,
                FrameStatus::NotMovable,
            ];
            assert_eq!(status, expected);
        }
        let (_, status) = move_frames(&arena, &list[..1], &[first], MigrateMode::Sync, None);
        assert_eq!(status, [FrameStatus::NotMovable], "another pool's");
        arena.free_frame(unowned);
        second.free(theirs).expect("live");
        settled(&arena, &pools);
    }
}

/// A destination in another arena is refused before a byte is copied: its number would lead to
/// somebody else's frame here.
#[test]
fn m4_a_frame_of_another_arena_is_no_destination() {
    for mode in [MigrateMode::Async, MigrateMode::SyncNoCopy] {
        let (here, there) = (arena(PageSize::K4), arena(PageSize::K4));
        let pools = [pool(&here)];
        let [pool] = &pools;
        let objects = filled(pool);
        let frames = owned(&here);
        let migrate = || {
            let (mut to, options) = (Anywhere(&there), MigrateOptions::new(mode));
            here.migrate_pages(&frames[20..25], &[pool], &mut to, options, &mut [])
        };
        assert!(catch_unwind(AssertUnwindSafe(migrate)).is_err());
        check(pool, &objects);
        settled(&here, &pools);
    }
}
