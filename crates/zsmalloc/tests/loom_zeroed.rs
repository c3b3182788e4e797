//! Models of frame migration against everything that meets it, on the shipped modules.
//!
//! As in `loom_pool`: every interleaving of up to two preemptions, payload bytes tracked, and for
//! each model a mutation in `xtask/mutations.toml` under which it fails.
//!
//! The common scene: slots of 1536 bytes, eight to three frames; the object stamped 1 is in slot 0,
//! of the first frame alone. A frame that is moved twice comes back to where it was: so whoever
//! still reads the old place meets the second copy.
#![cfg(zs_loom)]

#[path = "loom_support/frames.rs"]
mod frames;
mod loom_support;

use frames::{LEN, Pool, beside, filled, frame_at, migrate, model, read_stamp, settled};
use loom::sync::Arc;
use loom_support::arena;
use zsmalloc::{CompactBudget, Handle, PoolOptions};

/// The scene in a pool with `zero_freed`.
fn zeroed_scene<const N: usize>() -> (Arc<Pool>, [Handle; N]) {
    let options = PoolOptions {
        max_objects: Some(4),
        zero_freed: true,
        ..PoolOptions::named("model")
    };
    filled(Pool::new(arena(), options).expect("a pool"))
}

/// Bytes of this stamp in the frames that there are.
fn bytes_left(pool: &Pool, stamp: u8) -> usize {
    // SAFETY: the heap backing's payload is readable, and nobody writes to it any more.
    let payload = unsafe { pool.arena().payload().bytes(0, 4 * 4096) };
    payload.iter().filter(|&&byte| byte == stamp).count()
}

/// With `zero_freed`: an object freed while its frame is moved leaves no byte, neither here nor
/// there.
#[test]
fn zeroed_free_against_migrate() {
    model(|| {
        let (pool, [object, other]) = zeroed_scene();
        let frame = frame_at(pool.arena(), 0);
        let (freed, _) = beside(
            &pool,
            move |pool| pool.free(object),
            |pool| migrate(pool, frame),
        );
        assert_eq!(freed, Ok(()));
        assert_eq!(read_stamp(&pool, other), Some(2));
        settled(&pool);
        assert_eq!(bytes_left(&pool, 1), 0);
    });
}

/// The same of an object that is replaced.
#[test]
fn zeroed_replace_against_migrate() {
    model(|| {
        let (pool, [object, other]) = zeroed_scene();
        let frame = frame_at(pool.arena(), 0);
        let (replaced, _) = beside(
            &pool,
            // Of another class: nothing else comes into the slot.
            move |pool| pool.replace(object, &[9; 700]),
            |pool| migrate(pool, frame),
        );
        assert_eq!(replaced.map(|_| ()), Ok(()));
        assert_eq!(read_stamp(&pool, other), Some(2));
        settled(&pool);
        assert_eq!(bytes_left(&pool, 1), 0);
    });
}

/// The same of an object that compaction moves, out of slot 2 into slot 0.
#[test]
fn zeroed_compact_against_migrate() {
    model(|| {
        let (pool, [hole, _, object]) = zeroed_scene();
        pool.free(hole).expect("live");
        let frame = frame_at(pool.arena(), 1);
        beside(
            &pool,
            |pool| pool.compact(CompactBudget::objects(1)),
            |pool| migrate(pool, frame),
        );
        assert_eq!(read_stamp(&pool, object), Some(3));
        settled(&pool);
        assert_eq!(bytes_left(&pool, 3), LEN);
    });
}
