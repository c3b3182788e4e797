//! Row M3: a throttle waited for frames that its own caller had isolated. Here nobody waits for an
//! isolated frame: a call on it says so at once, in every mode; and puts its own back before it
//! returns.

use super::{arena, check, filled, move_frames, owned, pool, settled, underway};
use zs_mm::{FrameStatus, MigrateMode, Movable, PageSize};

const MODES: [MigrateMode; 4] = [
    MigrateMode::Async,
    MigrateMode::SyncLight,
    MigrateMode::Sync,
    MigrateMode::SyncNoCopy,
];

#[test]
fn m3_frames_that_the_caller_has_isolated() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let objects = filled(pool);
        let owners: [&dyn Movable; 1] = [pool];
        for mode in MODES {
            let frames = owned(&arena);
            let isolate = |&frame| arena.isolate(frame, &owners, false).expect("at rest");
            let tokens: Vec<_> = frames.iter().step_by(2).map(isolate).collect();
            let (report, status) = move_frames(&arena, &frames, &owners, mode, None);
            for (at, &one) in status.iter().enumerate() {
                let mine = one == FrameStatus::AlreadyIsolated;
                assert_eq!(mine, at % 2 == 0, "{one:?} in {mode:?}");
            }
            assert_eq!(report.not_moved, tokens.len() as u64);
            assert_eq!(
                underway(&arena).0,
                tokens.len() as u64,
                "the call's own are back"
            );
            drop(tokens);
            settled(&arena, &pools);
        }
        check(pool, &objects);
    }
}

/// A list that names a frame twice, within a batch and beyond.
#[test]
fn m3_a_frame_that_is_named_twice() {
    for mode in MODES {
        let arena = arena(PageSize::K4);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let objects = filled(pool);
        let frames = owned(&arena).repeat(3);
        let (report, status) = move_frames(&arena, &frames, &[pool], mode, Some(1));
        let known = |one: &FrameStatus| {
            matches!(
                one,
                FrameStatus::Moved(_) | FrameStatus::AlreadyIsolated | FrameStatus::NotInUse
            )
        };
        assert!(status.iter().all(known), "{status:?}");
        assert_eq!(report.moved, frames.len() as u64 / 3);
        check(pool, &objects);
        settled(&arena, &pools);
    }
}
