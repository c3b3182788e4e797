//! What the models share: the smallest arena, a pool in it, and the check after a run.

#![allow(dead_code, reason = "each test program uses a part")]

use zs_mm::{Arena, ArenaOptions};
use zs_os::testing::HeapBacking;
use zs_sync::SpinHost;
use zsmalloc::{Client, HandlePool, Pool, PoolOptions};

pub(crate) type TestArena = Arena<HeapBacking>;

/// Metadata is committed by 64 bytes, so that a limit of a few frames holds it.
const GRANULE: usize = 64;

/// 32 frames of 4 KiB: enough for the structures and a few zspages.
pub(crate) fn arena() -> TestArena {
    static HOST: SpinHost = SpinHost;
    Arena::new(
        HeapBacking::new(GRANULE),
        &HOST,
        ArenaOptions::new(128 << 10),
    )
    .expect("an arena")
}

/// A pool of at most four objects.
pub(crate) fn handle_pool() -> HandlePool<TestArena> {
    let options = PoolOptions {
        max_objects: Some(4),
        ..PoolOptions::named("model")
    };
    HandlePool::new(arena(), options).expect("a pool")
}

/// Everything recounted, pool and arena.
pub(crate) fn validate<C: Client>(pool: &Pool<TestArena, C>) {
    pool.validate().expect("a valid pool");
    let metadata = pool.metadata().total();
    pool.arena().validate(metadata).expect("a valid arena");
}
