//! Zeros written into a part of a block, with or without memory.
//!
//! block read -> zeros put in -> compressed -> replaced; without memory for that: after a trim;
//! with frames that are kept back; or into the object that is there, padded (`padding`). So a disk
//! that is full can be emptied, whatever the requests' size.

use crate::block::content::{Content, Form, ObjectFlags};
use crate::codecs::padding::{pad, strip};
use crate::codecs::scratch::{Scratch, with_scratch};
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
use crate::store::lock::{BlockLock, Coded};
use std::ops::Range;
use zcomp::Compressed;
use zs_mm::Backing;

impl<B: Backing> Store<B> {
    /// Zeroes a part of a locked block; if it is all zeros then, it becomes `zeros`.
    ///
    /// # Errors
    /// As for [`write_zeroes`](Self::write_zeroes); the block is as it was then.
    pub(crate) fn zero_inside(
        &self,
        lock: &BlockLock<'_, B>,
        block: BlockIndex,
        inside: Range<usize>,
        zeros: Content,
    ) -> Result<(), Error> {
        with_scratch(self.block_size(), |scratch| {
            let plain = &mut scratch.block;
            self.read_locked(block, lock.content(), plain, &mut scratch.joined)?;
            let is_zero = plain[inside.clone()].iter().all(|byte| *byte == 0);
            plain[inside].fill(0);
            match self.code(0, plain, &mut scratch.coded)? {
                Coded::Same(0) => return lock.set(zeros),
                _ if is_zero => return Ok(()),
                coded => match self.put_smaller(lock, block, coded) {
                    Err(Error::NoMemory) => {}
                    outcome => return outcome,
                },
            }
            self.put_in_place(lock, block, scratch)
        })
    }

    /// Stores what is to take the place of something larger: uses frames that are kept back for
    /// that.
    fn put_smaller(
        &self,
        lock: &BlockLock<'_, B>,
        block: BlockIndex,
        coded: Coded<'_>,
    ) -> Result<(), Error> {
        let stored = match self.with_room(|| self.put(lock, block, coded)) {
            Err(Error::NoMemory) if self.use_reserve() => self.put(lock, block, coded),
            outcome => return outcome,
        };
        self.reserve_frames();
        stored
    }

    /// Stores the block of `scratch` in the object that the locked block has.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if it has none, or a shorter one.
    pub(crate) fn put_in_place(
        &self,
        lock: &BlockLock<'_, B>,
        block: BlockIndex,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let Content::Object(mark) = lock.content() else {
            return Err(Error::NoMemory);
        };
        let Scratch {
            block: plain,
            coded,
            joined,
        } = scratch;
        let (form, len) = {
            let guard = self.read_pinned(block.word())?;
            let (form, _) = strip(mark.form, guard.contiguous(joined)?);
            (form, guard.len())
        };
        if form == Form::Raw {
            lock.overwrite(ObjectFlags::locked(form), plain)?;
        } else if let Form::Compressed(number) = form
            && let Compressed::Fits(stored) = self.stream(number)?.compress(plain, &mut *coded)?
            && stored <= len
        {
            let object = &mut coded[..len];
            let padded = pad(object, stored, number);
            let form = if padded { Form::Padded } else { form };
            lock.overwrite(ObjectFlags::locked(form), object)?;
        } else {
            return Err(Error::NoMemory);
        }
        self.touch(block);
        Ok(())
    }
}
