//! With `zero_freed`, moves leave no byte of a freed object either: not in the old frame, nor in
//! the new one.

use super::{arena, move_frames, owned, settled};
use zs_mm::{MigrateMode, Movable, PageSize};
use zs_model::{Numbers, TestArena, pattern};
use zsmalloc::{Pool, PoolOptions};

/// Bytes of the whole payload that are not zero; nothing was decommitted before.
fn not_zero(arena: &TestArena) -> usize {
    let len = arena.options().limit as usize;
    // SAFETY: the heap backing's payload is readable throughout, and nobody writes to it now.
    let payload = unsafe { arena.payload().bytes(0, len) };
    payload.iter().filter(|&&byte| byte != 0).count()
}

#[test]
fn only_live_objects_are_left_in_the_payload() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let options = PoolOptions {
            zero_freed: true,
            ..PoolOptions::named("secrets")
        };
        let pools = [Pool::new(&arena, options).expect("a pool")];
        let [pool] = &pools;
        let owners: [&dyn Movable; 1] = [pool];
        let mut numbers = Numbers::new(4);
        let mut live = Vec::new();
        for step in 0..60 {
            for n in 0..12 {
                let len = 1 + numbers.below(page.bytes());
                let handle = pool.insert(&pattern(12 * step + n, len)).expect("room");
                live.push((handle, len));
            }
            // Some are freed while their frames are isolated, some with a reader inside, some are
            // replaced.
            let frames = owned(&arena);
            let isolate = |&frame| arena.isolate(frame, &owners, false).ok();
            let tokens: Vec<_> = frames.iter().step_by(3).filter_map(isolate).collect();
            for _ in 0..5 {
                let (handle, _) = live.swap_remove(numbers.below(live.len()));
                pool.free(handle).expect("live");
            }
            let replaced = numbers.below(live.len());
            let bytes = pattern(step, 1 + numbers.below(page.bytes()));
            pool.replace(live[replaced].0, &bytes).expect("room");
            live[replaced].1 = bytes.len();
            drop(tokens);
            let readers: Vec<_> = (0..5)
                .map(|_| live.swap_remove(numbers.below(live.len())).0)
                .map(|handle| (pool.read(handle).expect("live"), pool.free(handle)))
                .collect();
            move_frames(
                &arena,
                &frames,
                &owners,
                MigrateMode::Sync,
                Some(step as u32 % 3),
            );
            drop(readers);
            pool.drain();
            let bytes: usize = live.iter().map(|&(_, len)| len).sum();
            assert_eq!(not_zero(&arena), bytes, "step {step} at {page}");
        }
        settled(&arena, &pools);
    }
}
