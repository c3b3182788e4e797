//! Rows Z4 and Z22: the last object of a frame goes while the frame is isolated. Its memory comes
//! back with the putback, or with the move; not before, and not twice.

use super::{arena, check, filled, frame_of, is_free, move_frames, owned, pool, settled};
use zs_mm::{FrameStatus, MigrateMode, Movable, PageSize};
use zs_model::pattern;

/// The only object of a zspage.
#[test]
fn z4_isolate_free_all_put_back() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let others = filled(pool);
        let last = pool.insert(&pattern(1, page.bytes())).expect("room");
        let frame = frame_of(pool, last);
        let token = arena.isolate(frame, &[pool], false).expect("at rest");
        let before = arena.frames_in_use();
        pool.free(last).expect("live");
        pool.trim();
        assert_eq!(arena.frames_in_use(), before, "it is its mover's");
        drop(token);
        assert!(is_free(&arena, frame));
        check(pool, &others);
        settled(&arena, &pools);
    }
}

/// All objects go, of every class, with every frame isolated: nothing is left.
#[test]
fn z22_isolate_free_all_objects() {
    for page in PageSize::ALL {
        for moved in [false, true] {
            let arena = arena(page);
            let pools = [pool(&arena)];
            let [pool] = &pools;
            let objects = filled(pool);
            let frames = owned(&arena);
            let owners: [&dyn Movable; 1] = [pool];
            let isolate = |&frame| arena.isolate(frame, &owners, false).expect("at rest");
            let tokens: Vec<_> = frames.iter().map(isolate).collect();
            for handle in objects {
                pool.free(handle).expect("live");
            }
            assert_eq!(arena.frames_in_use(), frames.len() as u64);
            assert_eq!(pool.stats().objects, 0);
            pool.validate().expect("valid");
            drop(tokens);
            assert_eq!(arena.frames_in_use(), 0, "the last one of each class too");
            if moved {
                let (report, status) =
                    move_frames(&arena, &frames, &owners, MigrateMode::Sync, None);
                assert!(status.iter().all(|&one| one == FrameStatus::NotInUse));
                assert_eq!((report.moved, report.not_moved), (0, 0));
            }
            assert_eq!(pool.stats().zspages, 0);
            settled(&arena, &pools);
        }
    }
}

/// A frame that nothing touches any more is freed by its move: it is not copied.
#[test]
fn z22_free_all_then_migrate() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let last = pool.insert(&pattern(1, page.bytes())).expect("room");
        let frame = frame_of(pool, last);
        // The class keeps it back.
        pool.free(last).expect("live");
        assert!(!is_free(&arena, frame));
        let (report, status) = move_frames(&arena, &[frame], &[pool], MigrateMode::Async, None);
        assert_eq!(status, [FrameStatus::Freed]);
        assert_eq!((report.freed, report.bytes_copied), (1, 0));
        assert_eq!(arena.frames_in_use(), 0);
        settled(&arena, &pools);
    }
}
