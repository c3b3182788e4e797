//! Row Z5: a pool was destroyed with frames isolated. A token keeps its pool borrowed, so what is
//! left is a token that was forgotten, and one that was dropped on the way of a panic.

use super::{arena, check, filled, is_free, owned, pool, settled, underway};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use zs_mm::{Movable, PageSize};

#[test]
fn z5_a_forgotten_token_does_not_keep_its_pools_frames() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let first = pool(&arena);
        let objects = filled(&first);
        let frames = owned(&arena);
        for &frame in frames.iter().step_by(3) {
            mem::forget(arena.isolate(frame, &[&first], false).expect("at rest"));
        }
        check(&first, &objects);
        first.validate().expect("valid");
        drop(first);
        assert!(frames.iter().all(|&frame| is_free(&arena, frame)));
        assert_eq!(arena.frames_in_use(), 0);
        arena.validate(0).expect("valid");
        // The frames are as good as new.
        let second = pool(&arena);
        let objects = filled(&second);
        for &frame in &owned(&arena) {
            drop(arena.isolate(frame, &[&second], false).expect("at rest"));
        }
        check(&second, &objects);
        second.validate().expect("valid");
    }
}

#[test]
fn z5_a_panic_puts_back_what_was_isolated() {
    let arena = arena(PageSize::K4);
    let pools = [pool(&arena)];
    let [pool] = &pools;
    let objects = filled(pool);
    let owners: [&dyn Movable; 1] = [pool];
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let frames = owned(&arena).into_iter();
        let isolate = |frame| arena.isolate(frame, &owners, false).expect("at rest");
        let tokens: Vec<_> = frames.map(isolate).collect();
        assert_eq!(underway(&arena).0, tokens.len() as u64);
        std::panic::resume_unwind(Box::new("on the way"));
    }));
    assert!(panicked.is_err());
    check(pool, &objects);
    settled(&arena, &pools);
}
