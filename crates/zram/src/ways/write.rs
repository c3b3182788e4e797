//! WRITE: bytes in.
//!
//! whole block -> same-filled? -> compressed, with no lock held -> the block's lock -> word or
//! object replaced; part of a block -> the block's lock -> block read -> bytes changed ->
//! compressed -> replaced. A failed store leaves what was there.

use crate::block::content::{Content, Form, ObjectFlags, fits_word};
use crate::codecs::same::same_filled;
use crate::codecs::scratch::{Scratch, with_scratch};
use crate::counters::Event;
use crate::counters::histogram::Timed;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
use crate::store::lock::{BlockLock, Coded};
use crate::store::range::Piece;
use zcomp::Compressed;
use zs_mm::{Backing, wide};

impl<B: Backing> Store<B> {
    /// Writes `data` at `offset`, which may be any. Each block is atomic; on an error blocks before
    /// the failing one may be new, and the failing one is as it was.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; [`Error::NoMemory`] at the limit; for a part of a written-back block
    /// what [`read`](Self::read) may answer.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.write_timed(data.len(), || {
            for piece in self.pieces(offset, data.len())? {
                self.write_piece(&piece, &data[piece.request.clone()])?;
            }
            Ok(())
        })
    }

    /// Writes `len` bytes that `fill` provides: it is called once for each block, with the range of
    /// the request that it is asked for, and a buffer of this length. For a source that others
    /// may change meanwhile: what `fill` has put into the buffer is what is compressed, stored
    /// and read back.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn write_from(
        &self,
        offset: u64,
        len: usize,
        mut fill: impl FnMut(std::ops::Range<usize>, &mut [u8]),
    ) -> Result<(), Error> {
        self.write_timed(len, || {
            let part = len.min(self.block_size());
            let mut copy = Vec::new();
            copy.try_reserve_exact(part).map_err(|_| Error::NoMemory)?;
            copy.resize(part, 0);
            for piece in self.pieces(offset, len)? {
                let copy = &mut copy[..piece.request.len()];
                fill(piece.request.clone(), copy);
                self.write_piece(&piece, copy)?;
            }
            Ok(())
        })
    }

    /// Makes what was written last as long as the backing lasts: there is nothing to do, since
    /// neither memory nor the backing outlives the store.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn flush(&self) -> Result<(), Error> {
        if self.arena().is_forked() {
            return Err(Error::Forked);
        }
        Ok(())
    }

    fn write_timed(
        &self,
        len: usize,
        run: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let outcome = self.timed(Timed::Write, run);
        match &outcome {
            Ok(()) => {
                self.counters.add(Event::Writes, 1);
                self.counters.add(Event::BytesWritten, wide(len));
            }
            Err(_) => self.counters.add(Event::FailedWrites, 1),
        }
        outcome
    }

    fn write_piece(&self, piece: &Piece, data: &[u8]) -> Result<(), Error> {
        self.with_room(|| {
            with_scratch(self.block_size(), |scratch| {
                if data.len() == self.block_size() {
                    self.write_block(piece.block, data, &mut scratch.coded)
                } else {
                    self.write_part(piece, scratch, data)
                }
            })
        })
    }

    fn write_block(&self, block: BlockIndex, data: &[u8], coded: &mut [u8]) -> Result<(), Error> {
        let coded = self.code(0, data, coded)?;
        let lock = self.lock(block)?;
        self.put(&lock, block, coded)
    }

    /// Changes a part of a block.
    fn write_part(&self, piece: &Piece, scratch: &mut Scratch, data: &[u8]) -> Result<(), Error> {
        let Scratch {
            block,
            coded,
            joined,
        } = scratch;
        let lock = self.lock(piece.block)?;
        self.read_locked(piece.block, lock.content(), block, joined)?;
        block[piece.inside.clone()].copy_from_slice(data);
        let coded = self.code(0, block, coded)?;
        self.put(&lock, piece.block, coded)
    }

    /// Gives the locked block a new content.
    pub(crate) fn put(
        &self,
        lock: &BlockLock<'_, B>,
        block: BlockIndex,
        coded: Coded<'_>,
    ) -> Result<(), Error> {
        let wide;
        let (form, bytes) = match coded {
            Coded::Same(pattern) if fits_word(pattern) => {
                return lock.set(Content::Same(pattern));
            }
            Coded::Same(pattern) => {
                wide = pattern.to_ne_bytes();
                (Form::Wide, &wide[..])
            }
            Coded::Object(form, bytes) => (form, bytes),
        };
        match &self.table().shares {
            Some(shares) => lock.set(Content::Shared(self.share(shares, form, bytes)?))?,
            None => lock.set_object(ObjectFlags::locked(form), bytes)?,
        }
        if form == Form::Raw {
            self.counters.add(Event::RawSince, 1);
        }
        self.touch(block);
        Ok(())
    }

    /// Encodes a block: its pattern, its compressed form in `room`, or
    /// itself.
    pub(crate) fn code<'a>(
        &self,
        number: u8,
        data: &'a [u8],
        room: &'a mut [u8],
    ) -> Result<Coded<'a>, Error> {
        if let Some(pattern) = same_filled(data) {
            return Ok(Coded::Same(pattern));
        }
        let fits = self.stream(number)?.compress(data, &mut *room)?;
        Ok(match fits {
            Compressed::Fits(len) if len <= self.raw_threshold && len < data.len() => {
                Coded::Object(Form::Compressed(number), &room[..len])
            }
            _ => Coded::Object(Form::Raw, data),
        })
    }
}
