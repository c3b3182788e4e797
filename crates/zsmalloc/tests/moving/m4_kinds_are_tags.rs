//! Row M4: a frame's kind was told by the low bits of a pointer, and misread. Kinds are tags of the descriptor, and
//! each frame is refused as what it is.

use super::{arena, filled, move_frames, owned, pool, settled};
use zs_mm::{Descriptor, FrameId, FrameStatus, FrameType, MigrateMode, Movable, PageSize};

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
