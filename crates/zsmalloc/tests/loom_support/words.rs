//! A pool whose words are its client's, for the models that look at a word without its generation.

use crate::loom_support::{TestArena, arena};
use zs_mm::{Arena, Backing};
use zs_sync::AtomicU64;
use zsmalloc::{Client, Layout, Pool, PoolOptions, Target, Word, WordIndex};

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
    type Key = WordIndex;

    fn resolve(&self, index: WordIndex) -> Option<Target> {
        Some(Target::word(index))
    }

    unsafe fn word(&self, index: WordIndex) -> Option<&AtomicU64> {
        self.0.get(index.index())
    }

    fn words(&self) -> u32 {
        2
    }

    fn emptied(&self, _layout: &Layout, _last: Word) -> Word {
        empty()
    }

    unsafe fn reclaimed<B: Backing>(&self, _arena: &Arena<B>, _index: WordIndex) {}

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
