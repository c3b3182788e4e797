//! Row Z9: a 3-bit count of isolated frames overflowed on long chains.

use super::{arena, move_frames, owned, pool, settled, underway};
use zs_mm::{FrameStatus, MigrateMode, Movable, PageSize};
use zs_model::pattern;

#[test]
fn z9_every_frame_of_the_longest_chain_at_once() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let classes = pool.geometry().classes().iter();
        let longest = *classes.max_by_key(|class| class.chain).expect("a class");
        let len = longest.size as usize;
        let insert = |n| pool.insert(&pattern(n, len)).expect("room");
        let objects: Vec<_> = (0..u64::from(longest.slots)).map(insert).collect();
        let frames = owned(&arena);
        assert_eq!(frames.len(), longest.chain as usize, "one zspage, whole");
        let owners: [&dyn Movable; 1] = [pool];
        let isolate = |&frame| arena.isolate(frame, &owners, false).expect("at rest");
        let mut tokens: Vec<_> = frames.iter().map(isolate).collect();
        assert_eq!(underway(&arena).0, frames.len() as u64);
        pool.validate().expect("valid");
        for &frame in &frames {
            let again = arena.isolate(frame, &owners, true);
            assert_eq!(again.err(), Some(FrameStatus::AlreadyIsolated));
        }
        // A slot is free, but the zspage takes nothing, until the last of its frames is back.
        pool.free(objects[0]).expect("live");
        while let Some(token) = tokens.pop() {
            let elsewhere = insert(0);
            assert_eq!(pool.stats().zspages, 2);
            pool.free(elsewhere).expect("live");
            pool.validate().expect("valid");
            drop(token);
        }
        pool.trim();
        let refilled = insert(0);
        let frames = owned(&arena);
        assert_eq!(pool.stats().zspages, 1);
        let (report, _) = move_frames(&arena, &frames, &owners, MigrateMode::SyncNoCopy, None);
        assert_eq!(report.moved, frames.len() as u64);
        for (n, &object) in [refilled].iter().chain(&objects[1..]).enumerate() {
            let guard = pool.read(object).expect("live");
            let bytes = [guard.spans().first, guard.spans().second].concat();
            assert_eq!(bytes, pattern(n as u64, len));
        }
        settled(&arena, &pools);
    }
}
