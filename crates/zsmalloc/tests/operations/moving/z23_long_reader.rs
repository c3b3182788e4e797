//! Row Z23: one long reader made a migration fail for good. Here the move is done at once; the old
//! frame is freed when the reader has left, and who needs that frame tries again until then.

use super::{arena, frame_of, is_free, move_frames, pool, settled, underway};
use zs_mm::{FrameStatus, MigrateMode, Movable, PageSize};
use zs_model::pattern;

#[test]
fn z23_a_long_reader_delays_the_old_frame_alone() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let bytes = pattern(7, page.bytes() / 2);
        let object = pool.insert(&bytes).expect("room");
        let old = frame_of(pool, object);
        let migrate = |frame| move_frames(&arena, &[frame], &[pool], MigrateMode::Sync, None).1[0];
        let reader = pool.read(object).expect("live");
        let FrameStatus::Moved(new) = migrate(old) else {
            panic!("not moved under a reader");
        };
        assert_eq!(frame_of(pool, object), new, "who comes later reads there");
        assert_eq!(reader.spans().first, bytes, "who was there reads on");
        for _ in 0..3 {
            assert_eq!(migrate(old), FrameStatus::Busy, "it is still being read");
            assert_eq!(migrate(new), FrameStatus::Busy, "its predecessor drains");
            assert_eq!(underway(&arena), (0, 1));
            pool.validate().expect("valid");
        }
        assert_eq!(arena.frames_in_use(), 2);
        // Nobody waits for the reader to read or to free; a write is refused as ever.
        pool.free(object).expect("live");
        assert_eq!(reader.spans().first, bytes);
        drop(reader);
        pool.drain();
        assert!(is_free(&arena, old), "nobody reads it any more");
        settled(&arena, &pools);
        pool.trim();
        assert_eq!(arena.frames_in_use(), 0);
    }
}

/// Readers who come and go, always one of them inside, each at the new place: the old frame is free
/// once those who were inside at the move have left.
#[test]
fn z23_a_drained_frame_comes_back_when_it_is_looked_at() {
    let arena = arena(PageSize::K4);
    let pools = [pool(&arena)];
    let [pool] = &pools;
    let objects = [1, 2].map(|seed| pool.insert(&pattern(seed, 1000)).expect("room"));
    let old = frame_of(pool, objects[0]);
    let [first, second] = objects.map(|object| pool.read(object).expect("live"));
    move_frames(&arena, &[old], &[pool], MigrateMode::Async, None);
    drop(first);
    pool.drain();
    assert!(!is_free(&arena, old), "the second is still inside");
    // The first object was seen without readers: who reads it now does not count.
    let later = pool.read(objects[0]).expect("live");
    drop(second);
    pool.drain();
    assert!(is_free(&arena, old));
    drop(later);
    settled(&arena, &pools);
}
