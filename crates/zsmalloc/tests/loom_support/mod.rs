//! What the models share: the smallest arena, pools of both kinds, and patterns.

use zs_mm::{Arena, ArenaOptions, Backing};
use zs_os::testing::HeapBacking;
use zs_sync::{AtomicU64, SpinHost};
use zsmalloc::{Client, HandlePool, Layout, Pool, PoolOptions, Target, Word};

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

/// Two words of a client without stale handles.
#[derive(Debug)]
pub(crate) struct TwoWords([AtomicU64; 2]);

/// The empty word of [`TwoWords`].
pub(crate) fn empty() -> Word {
    Word::client(0, 0)
}

// SAFETY: 1. The cells are fields of one value. 2. The client never changes them itself. 3. `empty`
// is one of the client's own states.
unsafe impl Client for TwoWords {
    type Key = u32;

    fn resolve(&self, index: u32) -> Option<Target> {
        Some(Target::word(index))
    }

    unsafe fn word(&self, index: u32) -> Option<&AtomicU64> {
        self.0.get(index as usize)
    }

    fn words(&self) -> u32 {
        2
    }

    fn emptied(&self, _layout: &Layout, _last: Word) -> Word {
        empty()
    }

    unsafe fn reclaimed<B: Backing>(&self, _arena: &Arena<B>, _index: u32) {}

    fn metadata_bytes(&self) -> u64 {
        0
    }

    unsafe fn release<B: Backing>(&mut self, _arena: &Arena<B>) {}
}

/// A pool whose two words are its client's.
pub(crate) fn word_pool() -> Pool<TestArena, TwoWords> {
    Pool::with_client(arena(), PoolOptions::named("model"), |_, _| {
        let word = || AtomicU64::new(empty().bits());
        Ok(TwoWords([word(), word()]))
    })
    .expect("a pool")
}

/// Everything recounted, pool and arena.
pub(crate) fn validate<C: Client>(pool: &Pool<TestArena, C>) {
    pool.validate().expect("a valid pool");
    let metadata = pool.metadata().total();
    pool.arena().validate(metadata).expect("a valid arena");
}
