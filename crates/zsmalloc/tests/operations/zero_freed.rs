//! With `zero_freed`, no byte of an object outlives it in the payload: freed, replaced, or left by
//! a replace that gave up, or by the end of its pool.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::thread;
use zs_mm::PageSize;
use zs_model::{Numbers, TestArena, World, pattern, scaled};
use zs_sync::{AtomicU64, Ordering};
use zsmalloc::{Error, HandlePool, Pool, PoolOptions};

fn pool(arena: &TestArena) -> HandlePool<&TestArena> {
    let options = PoolOptions {
        zero_freed: true,
        ..PoolOptions::named("secrets")
    };
    Pool::new(arena, options).expect("a pool")
}

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
        let (arena, _) = World::arena(page, 4 << 20, 4096).expect("an arena");
        let pool = pool(&arena);
        let mut numbers = Numbers::new(4);
        let mut live = Vec::new();
        let (mut freed, mut replaced) = (0, 0);
        for step in 0..400 {
            let bytes = pattern(step, 1 + numbers.below(page.bytes()));
            let at = numbers.below(20);
            if at >= live.len() {
                live.push((pool.insert(&bytes).expect("room"), bytes.len()));
            } else if numbers.below(2) == 0 {
                pool.free(live.swap_remove(at).0).expect("live");
                freed += 1;
            } else {
                pool.replace(live[at].0, &bytes).expect("room");
                live[at].1 = bytes.len();
                replaced += 1;
            }
            if step % 10 == 0 {
                let bytes: usize = live.iter().map(|&(_, len)| len).sum();
                assert_eq!(not_zero(&arena), bytes, "step {step} at {page}");
            }
        }
        assert!(
            freed > 50 && replaced > 50,
            "{freed} freed, {replaced} replaced"
        );
        let guard = pool.read(live[0].0).expect("live");
        let rest = guard.len();
        live.iter()
            .for_each(|&(handle, _)| pool.free(handle).expect("live"));
        assert_eq!(not_zero(&arena), rest, "a reader is inside one");
        drop(guard);
        assert_eq!(not_zero(&arena), 0);
    }
}

#[test]
fn a_pool_that_is_dropped_leaves_nothing() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 4 << 20, 4096).expect("an arena");
        let pool = pool(&arena);
        for n in 0..50 {
            pool.insert(&pattern(n, 1 + page.bytes() * n as usize / 50))
                .expect("room");
        }
        assert!(not_zero(&arena) > 0);
        drop(pool);
        assert_eq!(not_zero(&arena), 0, "at {page}");
    }
}

/// Counts a worker out, also when it panics: else the reader would go on for ever.
struct Ended<'a>(&'a AtomicU64);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Readers make replaces give up half-way: what those had copied goes too.
#[test]
fn a_replace_that_gives_up_leaves_nothing() {
    let (arena, _) = World::arena(PageSize::K4, 4 << 20, 4096).expect("an arena");
    let pool = pool(&arena);
    let handle = pool.insert(&pattern(1, 4000)).expect("room");
    let (busy, working) = (AtomicU64::new(0), AtomicU64::new(1));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ended = Ended(&working);
            // At least so many, and on until a reader was met.
            for seed in 0..2_000_000 {
                if seed > scaled(20_000) && busy.load(Ordering::Relaxed) > 100 {
                    break;
                }
                match pool.replace(handle, &pattern(seed % 7, 3000 + seed as usize % 1000)) {
                    Err(Error::Busy) => add(&busy),
                    outcome => outcome.map(|_| ()).expect("room"),
                }
            }
        });
        while working.load(Ordering::Acquire) > 0 {
            drop(pool.read(handle));
        }
    });
    let left = pool.read(handle).expect("live").len();
    assert!(busy.load(Ordering::Relaxed) > 0, "no reader came in");
    assert_eq!(not_zero(&arena), left);
    pool.free(handle).expect("live");
    assert_eq!(not_zero(&arena), 0);
}
