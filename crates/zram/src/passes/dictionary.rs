//! Dictionaries learnt from the store's own blocks.

use crate::block::content::Content;
use crate::codecs::scratch::{Scratch, with_scratch};
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::ids::as_index;
use crate::store::Store;
use zcomp::{Dictionary, MAX_DICTIONARY_LEN};
use zs_mm::Backing;

/// Bytes of samples for each byte of dictionary: zstd's own advice.
const SAMPLES: usize = 100;

impl<B: Backing> Store<B> {
    /// Learns a zstd dictionary of at most `max_len` bytes (256 to 1 MiB) from blocks all over the
    /// store, some hundred times as many bytes as the dictionary has. Use it for a [secondary
    /// algorithm](Self::set_secondary), or for the primary one of another store. Takes some 0.1
    /// s a MiB of samples, and memory for them, and as much again for zstd's tables several
    /// times over, beside what the limit counts, until it returns. No block counts as accessed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another length; [`Error::NoMemory`]; [`Error::Codec`] if the blocks
    /// are too few, or have nothing in common.
    pub fn train_dictionary(&self, max_len: usize) -> Result<Dictionary, Error> {
        if !(256..=MAX_DICTIONARY_LEN).contains(&max_len) {
            return Err(Error::Invalid(format!(
                "a dictionary of {max_len} bytes: 256 to {MAX_DICTIONARY_LEN} are allowed"
            )));
        }
        let block_size = self.block_size();
        let wanted = max_len * SAMPLES / block_size + 1;
        let objects = as_index(self.pool.stats().objects);
        let every = (objects / wanted).max(1);
        let (mut samples, mut lengths, mut seen) = (Vec::new(), Vec::new(), 0);
        self.each_object(self.all_blocks(), |block, _| {
            seen += 1;
            if (seen - 1) % every == 0 && self.sample(block, &mut samples)? {
                lengths.push(block_size);
            }
            Ok(lengths.len() < wanted)
        })?;
        Ok(Dictionary::train(&samples, &lengths, max_len)?)
    }

    /// Appends what a block holds, which does not count as an access; false if it holds no object
    /// any more.
    fn sample(&self, block: BlockIndex, samples: &mut Vec<u8>) -> Result<bool, Error> {
        let Ok(guard) = self.read_pinned(block.word()) else {
            return Ok(false);
        };
        // While it is pinned the object stays, and so does its form.
        let (Content::Object(mark), _) = self.content(block) else {
            return Ok(false);
        };
        with_scratch(self.block_size(), |scratch| {
            let Scratch {
                block: plain,
                joined,
                ..
            } = scratch;
            self.decode(block, mark.form, guard.contiguous(joined)?, plain)?;
            let room = samples.try_reserve(plain.len());
            room.map_err(|_| Error::NoMemory)?;
            samples.extend_from_slice(plain);
            Ok(true)
        })
    }
}
