//! Deduplication: identical blocks stored once.
//!
//! stored bytes -> hash -> a shared object with that hash (`shares`)? bytes compared -> one
//! reference more; none -> a new shared object. A block's word then holds the object's number; the
//! object's own word is in a table behind the blocks' words. Blocks whose bytes collide in the hash
//! only are stored, and not found again.
//!
//! # Locking
//!
//! The index's lock is never held while bytes are compared, stored or freed. A reference that is
//! taken under it keeps its object.

use crate::block::content::{Form, ObjectFlags};
use crate::block::dedup_index::DedupIndex;
use crate::error::Error;
use crate::ids::SharedIndex;
use crate::store::Store;
use zs_mm::Backing;
use zsmalloc::{Word, WordIndex};

impl<B: Backing> Store<B> {
    /// Refuses a pass over blocks' own objects in a store whose blocks have none.
    pub(crate) fn refuse_shared(&self, what: &str) -> Result<(), Error> {
        match self.table().shares {
            None => Ok(()),
            Some(_) => Err(Error::Invalid(format!(
                "{what}: not in a store with deduplication, whose objects belong to several blocks"
            ))),
        }
    }

    /// Returns a reference to the shared object with these bytes, which is made if there is none.
    pub(crate) fn share(
        &self,
        shares: &DedupIndex,
        form: Form,
        bytes: &[u8],
    ) -> Result<SharedIndex, Error> {
        let hash = shares.hash(form, bytes);
        if let Some(number) = self.find_same(shares, hash, form, bytes)? {
            return Ok(number);
        }
        let host = self.arena().host();
        let number = shares.take(self.arena(), hash)?;
        if let Err(error) = self.fill_shared(number, form, bytes) {
            shares.leave(host, number);
            shares.reclaimed(host, number);
            return Err(error);
        }
        // Who stored the same meanwhile was faster: theirs is taken.
        while !shares.publish(host, hash, number) {
            let (same, other) = self.compare(shares, hash, form, bytes)?;
            if let Some(other) = same {
                self.release_shared(number)?;
                return Ok(other);
            }
            if other {
                // The same hash, and other bytes: this object is found by nobody.
                return Ok(number);
            }
        }
        Ok(number)
    }

    /// Returns a reference to the object with these bytes, if it is found.
    fn find_same(
        &self,
        shares: &DedupIndex,
        hash: u32,
        form: Form,
        bytes: &[u8],
    ) -> Result<Option<SharedIndex>, Error> {
        Ok(self.compare(shares, hash, form, bytes)?.0)
    }

    /// The same; and whether there is one with the same hash and other bytes.
    fn compare(
        &self,
        shares: &DedupIndex,
        hash: u32,
        form: Form,
        bytes: &[u8],
    ) -> Result<(Option<SharedIndex>, bool), Error> {
        let Some(number) = shares.find(self.arena().host(), hash) else {
            return Ok((None, false));
        };
        let index = self.table().shared_word(number);
        let is_same = self.form_of(index) == form
            && self.read_pinned(index).is_ok_and(|guard| {
                let spans = guard.spans();
                let (first, second) = bytes.split_at(spans.first.len().min(bytes.len()));
                spans.first == first && spans.second == second
            });
        if is_same {
            return Ok((Some(number), false));
        }
        self.release_shared(number)?;
        Ok((None, true))
    }

    /// Returns the form of an object that the caller has a reference to.
    pub(crate) fn form_of(&self, index: WordIndex) -> Form {
        let word = self.pool.look_at(index).unwrap_or(Word::from_bits(0));
        ObjectFlags::of(word.client_bits(&self.pool.layout())).form
    }

    fn fill_shared(&self, number: SharedIndex, form: Form, bytes: &[u8]) -> Result<(), Error> {
        let mut mark = ObjectFlags::locked(form);
        // The lock of shared objects is their references.
        mark.locked = false;
        let index = self.table().shared_word(number);
        let free = Word::from_bits(0);
        self.pool.store(index, free, mark.bits(), bytes)?;
        self.counters.stored(form, bytes.len());
        Ok(())
    }

    /// Takes a reference away; with the last one the object goes.
    ///
    /// # Errors
    /// [`Error::Forked`]; others cannot be while references are counted right.
    pub(crate) fn release_shared(&self, number: SharedIndex) -> Result<(), Error> {
        let Some(shares) = &self.table().shares else {
            return Ok(());
        };
        let index = self.table().shared_word(number);
        if shares.leave(self.arena().host(), number) {
            let (form, len) = (self.form_of(index), self.read_pinned(index)?.len());
            // `DedupIndex::reclaimed` makes its number free.
            self.pool.free(index)?;
            self.counters.freed(form, len);
        }
        Ok(())
    }
}
