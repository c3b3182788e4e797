//! Who owns the words.

use crate::ids::WordIndex;
use crate::word::{Layout, Target, Word};
use zs_mm::{Arena, Backing};
use zs_sync::AtomicU64;

/// The owner of a pool's words: a [`HandleTable`](crate::HandleTable), or a table whose entries are
/// themselves the words (a block store's).
///
/// A pool has one client with at most 2^32 - 1 words. While a word is in one of the pool's states
/// (filling, live, exclusive, mapped, freeing) only the pool changes it; while it is free or in one
/// of the client's states, only the client does, but for the pool's insert.
///
/// # Safety
/// An implementation promises:
/// 1. `word(index)` gives the same cell for the same index for as long as the client lives, `None`
///    for an index of `words()` or more, and never one cell for two indices; `words()` is at most
///    2^32 - 1.
/// 2. The client, and whoever it lets near its cells, changes a cell only by a compare-and-swap
///    that expects a word without an object and stores another such word. It takes no word of one
///    pool to another.
/// 3. `emptied` returns a word without an object: free, or in one of the client's states.
pub unsafe trait Client: Send + Sync {
    /// The name that a user has for an object.
    type Key: Copy;

    /// Returns the word that `key` names, and what it must look like; `None` if it can name none.
    fn resolve(&self, key: Self::Key) -> Option<Target>;

    /// Returns the cell of word `index`.
    ///
    /// # Safety
    /// The caller is the client's pool, or keeps promise 2.
    unsafe fn word(&self, index: WordIndex) -> Option<&AtomicU64>;

    /// Returns the bound that all words' indexes are below.
    fn words(&self) -> u32;

    /// Returns what a word becomes when its object is gone; `last` is the object's last word.
    fn emptied(&self, layout: &Layout, last: Word) -> Word;

    /// Called once for each time that a word became empty, by the thread that emptied it, with no
    /// lock held. A client that lets others store into an empty word may find the next object in
    /// it already.
    ///
    /// # Safety
    /// The caller is the client's pool, and has emptied the word.
    unsafe fn reclaimed<B: Backing>(&self, arena: &Arena<B>, index: WordIndex);

    /// Says whether the client's own structures add up, given that no other thread is at work: part
    /// of [`Pool::validate`](crate::Pool::validate).
    ///
    /// # Errors
    /// The rule that is broken.
    fn validate<B: Backing>(&self, _arena: &Arena<B>) -> Result<(), &'static str> {
        Ok(())
    }

    /// Gives memory of the client's tables back that holds no word in use; returns the bytes. Part
    /// of [`Pool::trim`](crate::Pool::trim); called with no lock held, while others use the
    /// pool.
    fn trim<B: Backing>(&self, _arena: &Arena<B>) -> u64 {
        0
    }

    /// Returns the number of bytes of the client's tables that are counted in the arena's limit.
    fn metadata_bytes(&self) -> u64;

    /// Gives the client's tables back to the arena.
    ///
    /// # Safety
    /// The caller is the client's pool, at its end: no word is used any more.
    unsafe fn release<B: Backing>(&mut self, arena: &Arena<B>);
}
