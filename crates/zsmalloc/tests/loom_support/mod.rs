//! What the models share: the smallest arena, pools of both kinds, and patterns.

use std::ptr::NonNull;
use zs_mm::{Advice, Arena, ArenaOptions, Backing, BackingError, PageSize, RegionKind};
use zs_sync::{AtomicU64, SpinHost};
use zsmalloc::{Client, HandlePool, Layout, Pool, PoolOptions, Target, Word};
#[derive(Debug)]
pub struct LeakBacking;
unsafe impl Backing for LeakBacking {
    fn granule(&self) -> usize {
        64
    }
    fn reserve(
        &self,
        _k: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        let l = std::alloc::Layout::from_size_align(len.max(64), align.max(64)).unwrap();
        NonNull::new(unsafe { std::alloc::alloc_zeroed(l) }).ok_or(BackingError)
    }
    unsafe fn release(&self, _k: RegionKind, _p: NonNull<u8>, _l: usize) {}
    unsafe fn commit(
        &self,
        _k: RegionKind,
        _p: NonNull<u8>,
        _l: usize,
    ) -> Result<(), BackingError> {
        Ok(())
    }
    unsafe fn decommit(
        &self,
        _k: RegionKind,
        _p: NonNull<u8>,
        _l: usize,
    ) -> Result<(), BackingError> {
        Ok(())
    }
    unsafe fn advise(&self, _p: NonNull<u8>, _l: usize, _a: Advice) {}
}

pub type TestArena = Arena<LeakBacking>;

/// Sixteen frames of 4 KiB: enough for the structures and a few zspages.
pub fn arena() -> TestArena {
    static HOST: SpinHost = SpinHost;
    Arena::new(LeakBacking, &HOST, ArenaOptions::new(128 << 10)).expect("an arena")
}

/// A pool of at most four objects.
pub fn handle_pool() -> HandlePool<TestArena> {
    let options = PoolOptions {
        max_objects: Some(4),
        ..PoolOptions::named("model")
    };
    HandlePool::new(arena(), options).expect("a pool")
}

/// Two words of a client without stale handles.
#[derive(Debug)]
pub struct TwoWords([AtomicU64; 2]);

/// The empty word of [`TwoWords`].
pub fn empty() -> Word {
    Word::client(0, 0)
}

// SAFETY: 1. The cells are fields of one value. 2. The client never changes them itself. 3. `empty`
// is one of the client's own states.
unsafe impl Client for TwoWords {
    type Key = u32;

    fn resolve(&self, index: u32) -> Option<Target> {
        Some(Target::word(index))
    }

    fn word(&self, index: u32) -> Option<&AtomicU64> {
        self.0.get(index as usize)
    }

    fn words(&self) -> u32 {
        2
    }

    fn emptied(&self, _layout: &Layout, _last: Word) -> Word {
        empty()
    }

    fn reclaimed<B: Backing>(&self, _arena: &Arena<B>, _index: u32) {}

    fn metadata_bytes(&self) -> u64 {
        0
    }

    fn release<B: Backing>(&mut self, _arena: &Arena<B>) {}
}

/// A pool whose two words are its client's.
pub fn word_pool() -> Pool<TestArena, TwoWords> {
    Pool::with_client(arena(), PoolOptions::named("model"), |_, _| {
        let word = || AtomicU64::new(empty().bits());
        Ok(TwoWords([word(), word()]))
    })
    .expect("a pool")
}

/// Everything recounted, pool and arena.
pub fn validate<C: Client>(pool: &Pool<TestArena, C>) {
    pool.validate().expect("a valid pool");
    let metadata = pool.metadata().total();
    pool.arena().validate(metadata).expect("a valid arena");
}
