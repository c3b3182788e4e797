//! The lock of one block: a bit of its word, which may be held while bytes are compressed or a file
//! is read.
//!
//! word -> the same word, locked -> (content changed) -> unlocked. Readers of an object need no
//! lock: a pin is enough, also while the block is locked. What a block holds changes from the old
//! to the new in one step, or by way of states in which readers wait.
//!
//! An object is replaced at a moment without readers. A holder that meets one says so in the word
//! (*wanted*): readers to come wait for the lock from then on, so that each delays it once.
//!
//! # Locking
//!
//! A thread holds one block's lock at a time. Nothing of `zs_sync::LockName` is held while it waits
//! for one. Who waits long sleeps (`waiters`).

use crate::block::content::{Content, Form, Kind, ObjectFlags, gone};
use crate::block::table::wait;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
use zs_mm::Backing;
use zsmalloc::{State, Word, WordIndex};

/// How often a locked word is looked at before its waiter sleeps.
const SPINS: u32 = 200;

/// A locked block. Unlocked when dropped.
pub(crate) struct BlockLock<'a, B: Backing> {
    store: &'a Store<B>,
    block: BlockIndex,
    before: Kind,
}

impl<B: Backing> Store<B> {
    /// Locks a block, after whoever holds its lock now.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the block's part of the table has no memory and gets none;
    /// [`Error::Forked`].
    pub(crate) fn lock(&self, block: BlockIndex) -> Result<BlockLock<'_, B>, Error> {
        if self.arena().is_forked() {
            return Err(Error::Forked);
        }
        self.table().enter(self.arena(), block)?;
        Ok(self.lock_inside(block))
    }

    /// Locks a block, unless its part of the table has no memory: then it is a hole.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub(crate) fn lock_if_open(
        &self,
        block: BlockIndex,
    ) -> Result<Option<BlockLock<'_, B>>, Error> {
        if self.arena().is_forked() {
            return Err(Error::Forked);
        }
        let is_open = self.table().enter_if_open(self.arena(), block);
        Ok(is_open.then(|| self.lock_inside(block)))
    }

    /// Locks a block that holds an object, and says which; `None` if it holds something else by
    /// then. Who holds the lock of an object never waits for the backing, so that this does not
    /// either.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub(crate) fn lock_object(
        &self,
        block: BlockIndex,
    ) -> Result<Option<(BlockLock<'_, B>, ObjectFlags)>, Error> {
        let mut spins = 0;
        while let (Content::Object(_) | Content::Between, _) = self.content(block) {
            if self.arena().is_forked() {
                return Err(Error::Forked);
            }
            if !self.table().enter_if_open(self.arena(), block) {
                return Ok(None);
            }
            if let Some(before) = self.try_lock(block) {
                let lock = BlockLock {
                    store: self,
                    block,
                    before,
                };
                let Content::Object(mark) = lock.content() else {
                    return Ok(None);
                };
                return Ok(Some((lock, mark)));
            }
            self.table().leave(block, false, false);
            wait(self.arena(), &mut spins);
        }
        Ok(None)
    }

    /// Locks a block whose part of the table this thread has entered.
    fn lock_inside(&self, block: BlockIndex) -> BlockLock<'_, B> {
        let mut spins = 0;
        loop {
            if let Some(before) = self.try_lock(block) {
                return BlockLock {
                    store: self,
                    block,
                    before,
                };
            }
            self.wait_unlocked(block, &mut spins);
        }
    }

    /// Lets others run, and in the end sleeps, while a block is locked.
    pub(crate) fn wait_unlocked(&self, block: BlockIndex, spins: &mut u32) {
        if *spins < SPINS {
            wait(self.arena(), spins);
        } else {
            let is_locked = || self.content(block).1;
            self.waiters.sleep(self.arena().host(), block, is_locked);
        }
    }

    /// Returns what a block holds now, and whether it is locked.
    pub(crate) fn content(&self, block: BlockIndex) -> (Content, bool) {
        self.content_of(block.word())
    }

    /// Returns what a word says, a block's or a shared object's.
    pub(crate) fn content_of(&self, index: WordIndex) -> (Content, bool) {
        let word = self.pool.look_at(index).unwrap_or(Word::from_bits(0));
        Content::of(word, &self.pool.layout())
    }

    /// Changes the flags of an object by the pure function `change`, which may be called several
    /// times and answers `None` to leave them. Returns the flags before, and whether they changed.
    ///
    /// # Errors
    /// Those of [`Pool::change_bits`](zsmalloc::Pool::change_bits): the word holds no object.
    pub(crate) fn change_flags(
        &self,
        index: WordIndex,
        change: impl Fn(ObjectFlags) -> Option<ObjectFlags>,
    ) -> Result<(ObjectFlags, bool), zsmalloc::Error> {
        let change = |bits| change(ObjectFlags::of(bits)).map(ObjectFlags::bits);
        let (before, changed) = self.pool.change_bits(index, change)?;
        Ok((ObjectFlags::of(before), changed))
    }

    fn try_lock(&self, block: BlockIndex) -> Option<Kind> {
        let word = self.pool.look_at(block.word())?;
        let (content, locked) = Content::of(word, &self.pool.layout());
        if locked {
            return None;
        }
        let Some(taken) = content.word(true) else {
            let lock = |flags: ObjectFlags| {
                (!flags.locked).then_some(ObjectFlags {
                    locked: true,
                    ..flags
                })
            };
            // An error: the object has just gone. Look again.
            let (flags, changed) = self.change_flags(block.word(), lock).ok()?;
            return changed.then(|| Content::Object(flags).kind());
        };
        let changed = self.table().change(block, word, taken);
        changed.then(|| content.kind())
    }
}

impl<B: Backing> BlockLock<'_, B> {
    /// Returns what the block holds. While it is locked only its holder changes that, but for the
    /// mark of idleness.
    pub(crate) fn content(&self) -> Content {
        self.store.content(self.block).0
    }

    /// Makes the block an object of these bytes. On an error it stays as it was.
    pub(crate) fn set_object(&self, mark: ObjectFlags, bytes: &[u8]) -> Result<(), Error> {
        let pool = &self.store.pool;
        let bits = ObjectFlags {
            locked: true,
            ..mark
        }
        .bits();
        let old = self.content();
        if let Some(word) = old.word(true) {
            pool.store(self.block.word(), word, bits, bytes)?;
            self.store.counters.stored(mark.form, bytes.len());
            return self.release(old);
        }
        self.renew(old, mark, bytes, || {
            pool.replace_with_bits(self.block.word(), bits, bytes)
        })
    }

    /// Gives the block's object other bytes in its own place, as many as it has: no memory is
    /// needed.
    pub(crate) fn overwrite(&self, mark: ObjectFlags, bytes: &[u8]) -> Result<(), Error> {
        let bits = ObjectFlags {
            locked: true,
            ..mark
        }
        .bits();
        self.renew(self.content(), mark, bytes, || {
            let pool = &self.store.pool;
            pool.write_with_bits(self.block.word(), bits, bytes)?;
            Ok(bytes.len())
        })
    }

    /// Gives the block's object other bytes at a moment without readers, by `renew`, which returns
    /// the old length.
    fn renew(
        &self,
        old: Content,
        mark: ObjectFlags,
        bytes: &[u8],
        renew: impl Fn() -> Result<usize, zsmalloc::Error>,
    ) -> Result<(), Error> {
        let form = self.form(old)?;
        let mut spins = 0;
        let old_len = loop {
            match renew() {
                // A reader is inside, or the mark of idleness has just changed.
                Err(zsmalloc::Error::Busy) => self.keep_readers_out()?,
                outcome => break outcome?,
            }
            wait(self.store.arena(), &mut spins);
        };
        self.store.counters.freed(form, old_len);
        self.store.counters.stored(mark.form, bytes.len());
        Ok(())
    }

    /// Returns the form of the block's object.
    fn form(&self, content: Content) -> Result<Form, Error> {
        let Content::Object(mark) = content else {
            return Err(self.corrupt("its object went away under its lock"));
        };
        Ok(mark.form)
    }

    /// Readers to come wait until this lock is given back.
    fn keep_readers_out(&self) -> Result<(), Error> {
        self.store.change_flags(self.block.word(), |flags| {
            (!flags.wanted).then_some(ObjectFlags {
                wanted: true,
                ..flags
            })
        })?;
        Ok(())
    }

    /// Makes the block a hole, a pattern, an extent or a reference: no memory is needed.
    ///
    /// # Errors
    /// [`Error::Forked`] and [`Error::Corrupt`], which cannot be unless a word was changed by who
    /// does not hold its lock.
    pub(crate) fn set(&self, new: Content) -> Result<(), Error> {
        let Some(to) = new.word(true) else {
            return Err(self.corrupt("an object is to be stored without its bytes"));
        };
        let old = self.content();
        let from = match old.word(true) {
            Some(word) => word,
            None => self.free_object(old)?,
        };
        if !self.store.table().change(self.block, from, to) {
            return Err(self.corrupt("its word was changed under its lock"));
        }
        self.release(old)
    }

    /// Frees the block's object, and waits until its last reader has left: readers to come wait for
    /// the lock.
    fn free_object(&self, old: Content) -> Result<Word, Error> {
        let form = self.form(old)?;
        let len = self.store.read_pinned(self.block.word())?.len();
        self.store.pool.free(self.block.word())?;
        self.store.counters.freed(form, len);
        let mut spins = 0;
        // Only the word of a finished free is equal to this.
        while self.store.pool.look_at(self.block.word()) != Some(gone()) {
            wait(self.store.arena(), &mut spins);
        }
        Ok(gone())
    }

    /// Gives up what the old content had elsewhere.
    fn release(&self, old: Content) -> Result<(), Error> {
        match old {
            Content::Backed(extent) => self.store.free_extent(extent),
            Content::Shared(number) => self.store.release_shared(number)?,
            _ => {}
        }
        Ok(())
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::Corrupt {
            block: self.block.number(),
            what: what.to_owned(),
        }
    }

    /// Takes the lock's bit away; returns what the block holds.
    fn unlock(&self) -> Kind {
        loop {
            let word = self.store.pool.look_at(self.block.word()).unwrap_or(gone());
            let (content, _) = Content::of(word, &self.store.pool.layout());
            let done = match content.word(false) {
                Some(unlocked) => self.store.table().change(self.block, word, unlocked),
                None => self.unlock_object(word),
            };
            if done {
                return content.kind();
            }
        }
    }

    fn unlock_object(&self, word: Word) -> bool {
        debug_assert_eq!(word.state(), State::Live, "nothing is left on its way");
        let unlocked = self.store.change_flags(self.block.word(), |flags| {
            flags.locked.then_some(ObjectFlags {
                locked: false,
                wanted: false,
                ..flags
            })
        });
        matches!(unlocked, Ok((_, true)))
    }
}

impl<B: Backing> Drop for BlockLock<'_, B> {
    fn drop(&mut self) {
        let after = self.unlock();
        let store = self.store;
        store.counters.moved(self.before, after);
        store
            .table()
            .leave(self.block, self.before != Kind::Hole, after != Kind::Hole);
        store.waiters.wake(store.arena().host(), self.block);
    }
}

/// The bytes to store of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Coded<'a> {
    /// One 8-byte word, repeated.
    Same(u64),
    /// An object.
    Object(Form, &'a [u8]),
}
