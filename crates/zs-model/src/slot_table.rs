//! A client with words of its own: a block store in small.

use crate::words::{Presence, Words};
use zs_mm::{Arena, Backing};
use zs_sync::{AtomicU64, Ordering};
use zsmalloc::{
    Client, ClientBits, Error, Layout, Pool, PoolOptions, Spans, State, Target, Word, WordIndex,
};

/// The state of a word whose object went; the payload has its flags and generation.
const GONE: u8 = 2;

/// Words by their index. An empty word is in one of the client's states.
///
/// One thread at a time drives it, by [`run`](crate::run); other threads use it as any client.
#[derive(Debug)]
pub struct SlotTable {
    words: Box<[AtomicU64]>,
}

/// What a store asks for.
#[derive(Debug, Clone, Copy)]
pub struct SlotAsk {
    /// The word.
    pub index: WordIndex,
    /// What the word is taken to be.
    pub empty: Word,
    /// The new object's bits.
    pub bits: ClientBits,
    /// What must come of it.
    expected: Expected,
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Done,
    Occupied,
    Changed,
    NoSuchWord,
}

impl SlotTable {
    /// Makes a table of `words` empty words.
    pub fn new(words: u32) -> Self {
        let empty = |index| AtomicU64::new(Word::client(0, u64::from(index)).bits());
        Self {
            words: (0..words).map(empty).collect(),
        }
    }

    /// Returns the word at `index` as it is, or an empty one beyond the end.
    pub fn get(&self, index: WordIndex) -> Word {
        let word = self.words.get(index.index());
        Word::from_bits(word.map_or(0, |word| word.load(Ordering::Acquire)))
    }

    /// Returns the client's empty value after an object with these bits.
    pub fn gone(layout: &Layout, last: Word) -> Word {
        let generation = last.bits() >> (64 - layout.generation_bits());
        Word::client(GONE, u64::from(last.flags()) | generation << 8)
    }

    /// Changes a word of the client's own, if nobody is faster; leaves one with an object alone.
    pub fn mark_empty(&self, index: WordIndex, state: u8, payload: u32) {
        let before = self.get(index);
        let (State::Client(_), Some(word)) = (before.state(), self.words.get(index.index())) else {
            return;
        };
        let after = Word::client(state, u64::from(payload));
        // AcqRel: whoever stores next sees what this thread did; a lost race leaves the winner's.
        let _ = word.compare_exchange(
            before.bits(),
            after.bits(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    fn index_of(&self, slot: u16) -> WordIndex {
        // Few words, so that they are met again; and one that is not there.
        WordIndex::new(u32::from(slot) % (self.words.len() as u32 + 1))
    }
}

// SAFETY: 1. `word` indexes a box of cells that nothing replaces. 2. The table changes a word in
// `mark_empty` only, by a compare-and-swap from a word in a client's state to another such. 3.
// `emptied` gives a word in a client's state.
unsafe impl Client for SlotTable {
    type Key = WordIndex;

    fn resolve(&self, index: WordIndex) -> Option<Target> {
        Some(Target::word(index))
    }

    unsafe fn word(&self, index: WordIndex) -> Option<&AtomicU64> {
        self.words.get(index.index())
    }

    fn words(&self) -> u32 {
        self.words.len() as u32
    }

    fn emptied(&self, layout: &Layout, last: Word) -> Word {
        Self::gone(layout, last)
    }

    unsafe fn reclaimed<B: Backing>(&self, _: &Arena<B>, _: WordIndex) {}

    fn metadata_bytes(&self) -> u64 {
        0
    }

    unsafe fn release<B: Backing>(&mut self, _: &Arena<B>) {}
}

impl Words for SlotTable {
    type Ask = SlotAsk;

    fn pool<'a, B: Backing>(
        arena: &'a Arena<B>,
        options: PoolOptions<'_>,
        most: u32,
    ) -> Result<Pool<&'a Arena<B>, Self>, Error> {
        Pool::with_client(arena, options, |_, _| Ok(Self::new(most)))
    }

    fn ask(
        &self,
        slot: u16,
        seed: u8,
        presence: impl Fn(WordIndex) -> Presence,
    ) -> Option<SlotAsk> {
        let index = self.index_of(slot);
        let seen = self.get(index);
        let wrong = seed.is_multiple_of(16);
        let empty = if wrong {
            Word::client(7, u64::from(seed) << 20)
        } else {
            seen
        };
        let expected = match presence(index) {
            Presence::Freeing => return None,
            _ if self.words.get(index.index()).is_none() => Expected::NoSuchWord,
            Presence::Live => Expected::Occupied,
            Presence::Absent if wrong => Expected::Changed,
            Presence::Absent => Expected::Done,
        };
        let bits = ClientBits {
            flags: seed,
            generation: u32::from(seed).wrapping_mul(0x0101_0101) ^ u32::from(slot),
        };
        Some(SlotAsk {
            index,
            empty,
            bits,
            expected,
        })
    }

    fn expect(&self, ask: &SlotAsk, _: u64, _: u64) -> Result<(), Error> {
        match ask.expected {
            Expected::Done => Ok(()),
            Expected::Occupied => Err(Error::Occupied),
            Expected::Changed => Err(Error::Busy),
            Expected::NoSuchWord => Err(Error::Stale),
        }
    }

    fn insert<B: Backing>(
        pool: &Pool<&Arena<B>, Self>,
        ask: &SlotAsk,
        bytes: &[u8],
        _: bool,
    ) -> Result<WordIndex, Error> {
        let before = pool.client().get(ask.index);
        let outcome = pool.store(ask.index, ask.empty, ask.bits, bytes);
        if outcome.is_err() && pool.client().get(ask.index) != before {
            // Whatever the error, nothing has changed: an answer that no model predicts.
            return Err(Error::Invalid("a failed store changed its word"));
        }
        outcome.map(|()| ask.index)
    }

    fn keeps<B: Backing>(pool: &Pool<&Arena<B>, Self>, index: WordIndex, ask: &SlotAsk) -> bool {
        let (word, layout) = (pool.client().get(index), pool.layout());
        let generation = word.bits() >> (64 - layout.generation_bits());
        let mask = (1_u64 << layout.generation_bits()) - 1;
        word.flags() == ask.bits.flags & 0x1f && generation == u64::from(ask.bits.generation) & mask
    }

    fn is_empty_after<B: Backing>(
        pool: &Pool<&Arena<B>, Self>,
        index: WordIndex,
        ask: &SlotAsk,
    ) -> bool {
        let layout = pool.layout();
        let mask = (1_u64 << layout.generation_bits()) - 1;
        let generation = u64::from(ask.bits.generation) & mask;
        let gone = Word::client(GONE, u64::from(ask.bits.flags & 0x1f) | generation << 8);
        pool.client().get(index) == gone
    }

    fn visit<B: Backing>(
        pool: &Pool<&Arena<B>, Self>,
        visit: &mut dyn FnMut(WordIndex, Spans<'_>),
    ) -> u64 {
        let mut skipped = 0;
        for index in (0..pool.client().words()).map(WordIndex::new) {
            match pool.read(index) {
                Ok(guard) => visit(index, guard.spans()),
                Err(Error::Busy) => skipped += 1,
                Err(_) => {}
            }
        }
        skipped
    }

    fn forge(bits: u64) -> Option<WordIndex> {
        Some(WordIndex::new(bits as u32))
    }

    fn mark(&self, slot: u16, state: u8, payload: u32, presence: impl Fn(WordIndex) -> Presence) {
        let index = self.index_of(slot);
        if presence(index) == Presence::Absent {
            self.mark_empty(index, state, payload);
        }
    }
}
