//! READ: bytes out.
//!
//! block -> word -> hole or pattern: filled; object: pin -> spans -> decompressed -> unpin; written
//! back or shared: the block's lock -> record read and verified, or the shared object pinned.
//!
//! # Locking
//!
//! None for holes, patterns and objects. A reader waits while a block goes from an object to
//! something else, or gets its first one.

use crate::block::content::{Content, Form, ObjectFlags};
use crate::codecs::padding;
use crate::codecs::same::fill;
use crate::codecs::scratch::{Scratch, with_scratch};
use crate::counters::Event;
use crate::counters::histogram::Timed;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
use zs_mm::{Backing, wide};
use zs_sync::Ordering;
use zsmalloc::{Word, WordIndex};

impl<B: Backing> Store<B> {
    /// Reads `buffer.len()` bytes at `offset`, which may be any. Blocks only as long as another
    /// request needs to change one of these blocks, or to read a written-back one.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; [`Error::Io`], [`Error::Corrupt`] and [`Error::NoMemory`] for a
    /// written-back block that does not come back as it was; the buffer's bytes are unspecified
    /// then.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let len = buffer.len();
        self.read_timed(len, || self.read_pieces(offset, buffer))
    }

    /// Reads like [`read`](Self::read), but puts nothing into the buffer if the range holds nothing
    /// but zeros. Returns whether it holds more.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_unless_zeroes(&self, offset: u64, buffer: &mut [u8]) -> Result<bool, Error> {
        let len = buffer.len();
        self.read_timed(len, || {
            self.check_range(offset, wide(len))?;
            if self.is_zeroes(offset, wide(len)) {
                return Ok(false);
            }
            self.read_pieces(offset, buffer).map(|()| true)
        })
    }

    fn read_timed<T>(
        &self,
        len: usize,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = self.timed(Timed::Read, run);
        match &outcome {
            Ok(_) => {
                self.counters.add(Event::Reads, 1);
                self.counters.add(Event::BytesRead, wide(len));
            }
            Err(_) => self.counters.add(Event::FailedReads, 1),
        }
        outcome
    }

    fn read_pieces(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        for piece in self.pieces(offset, buffer.len())? {
            let out = &mut buffer[piece.request];
            with_scratch(self.block_size(), |scratch| {
                if out.len() == self.block_size() {
                    return self.read_block(piece.block, out, &mut scratch.joined);
                }
                let Scratch { block, joined, .. } = scratch;
                self.read_block(piece.block, block, joined)?;
                out.copy_from_slice(&block[piece.inside]);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Reads a whole block. `joined` is as long as a block.
    pub(crate) fn read_block(
        &self,
        block: BlockIndex,
        out: &mut [u8],
        joined: &mut [u8],
    ) -> Result<(), Error> {
        let mut spins = 0;
        loop {
            let (content, _) = self.content(block);
            match content {
                Content::Hole => {
                    out.fill(0);
                    return Ok(());
                }
                Content::Same(pattern) => {
                    fill(pattern, 0, out);
                    return Ok(());
                }
                // Its holder waits for the readers that are inside.
                Content::Object(mark) if mark.wanted => self.wait_unlocked(block, &mut spins),
                Content::Object(_) => {
                    if self.read_object(block, block.word(), out, joined)? {
                        return Ok(());
                    }
                }
                Content::Backed(_) | Content::Shared(_) => {
                    // Discarded meanwhile, with all of its page: a hole.
                    let Some(lock) = self.lock_if_open(block)? else {
                        continue;
                    };
                    let content = lock.content();
                    return self.read_locked(block, content, out, joined);
                }
                Content::Between => self.wait_unlocked(block, &mut spins),
            }
        }
    }

    /// Reads a block whose lock is held and whose content is known.
    pub(crate) fn read_locked(
        &self,
        block: BlockIndex,
        content: Content,
        out: &mut [u8],
        joined: &mut [u8],
    ) -> Result<(), Error> {
        let found = match content {
            Content::Hole => {
                out.fill(0);
                true
            }
            Content::Same(pattern) => {
                fill(pattern, 0, out);
                true
            }
            Content::Object(_) => self.read_object(block, block.word(), out, joined)?,
            Content::Backed(extent) => {
                let record = self.read_record(block, extent)?;
                self.decode(block, record.form, record.bytes(), out)?;
                true
            }
            Content::Shared(number) => {
                let index = self.table().shared_word(number);
                self.read_object(block, index, out, joined)?
            }
            Content::Between => false,
        };
        found.then_some(()).ok_or_else(|| Error::Corrupt {
            block: block.number(),
            what: "what it holds went away under its lock".to_owned(),
        })
    }

    /// Reads the object of a word, the block's own or a shared one; false if it holds none any
    /// more.
    fn read_object(
        &self,
        block: BlockIndex,
        index: WordIndex,
        out: &mut [u8],
        joined: &mut [u8],
    ) -> Result<bool, Error> {
        let guard = match self.read_pinned(index) {
            Ok(guard) => guard,
            Err(zsmalloc::Error::Stale) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let layout = self.pool.layout();
        let mark = ObjectFlags::of(guard.word().client_bits(&layout));
        let bytes = guard.contiguous(joined)?;
        self.decode(block, mark.form, bytes, out)?;
        if index == block.word() {
            self.touch(block);
        }
        // Whoever marks it idle by an older time than this has done so by now, or looks at it
        // again.
        self.accessed(index, guard.leave());
        Ok(true)
    }

    /// Notes an access, which has ended and left this word: the block is neither idle nor what a
    /// writeback has picked any more.
    fn accessed(&self, index: WordIndex, left: Word) {
        if let (Content::Object(mark), _) = Content::of(left, &self.pool.layout())
            && (mark.idle || mark.picked)
        {
            // An error: the object has been freed meanwhile.
            let _ = self.change_flags(index, |flags| {
                let used = flags.idle || flags.picked;
                used.then_some(ObjectFlags {
                    idle: false,
                    picked: false,
                    ..flags
                })
            });
        }
    }

    /// Remembers when a block was accessed, if that is tracked. The caller pins its object, or
    /// holds its lock.
    pub(crate) fn touch(&self, block: BlockIndex) {
        if let Some(time) = self.table().time(block) {
            // Relaxed: a time, by which nothing is published.
            time.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Returns a block from its stored bytes.
    pub(crate) fn decode(
        &self,
        block: BlockIndex,
        form: Form,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Result<(), Error> {
        let corrupt = |what: String| Error::Corrupt {
            block: block.number(),
            what,
        };
        match form {
            Form::Raw if bytes.len() == out.len() => out.copy_from_slice(bytes),
            Form::Wide if bytes.len() == 8 => {
                for word in out.chunks_exact_mut(8) {
                    word.copy_from_slice(bytes);
                }
            }
            Form::Padded => {
                let inner = padding::unpad(bytes);
                let (form, bytes) = inner.ok_or_else(|| corrupt("no padding".to_owned()))?;
                return self.decode(block, form, bytes, out);
            }
            Form::Raw | Form::Wide => {
                return Err(corrupt(format!(
                    "{} bytes of the form {form:?}",
                    bytes.len()
                )));
            }
            Form::Compressed(number) => self
                .stream(number)?
                .decompress(bytes, out)
                .map_err(|error| corrupt(error.to_string()))?,
        }
        Ok(())
    }
}
