//! RECOMPRESS: blocks made smaller by a slower algorithm.
//!
//! candidates (the largest first, if only so many are wanted) -> the block's lock -> decompressed -> compressed by the
//! secondary algorithm -> in a smaller size class? replaced, else marked as tried. Readers go on meanwhile, writers of
//! this one block wait.

use crate::content::{Content, Form, Mark};
use crate::counters::Event;
use crate::error::Error;
use crate::lock::Coded;
use crate::scan::Which;
use crate::scratch::{Scratch, with_scratch};
use crate::store::Store;
use crate::write::code;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use zs_mm::Backing;

/// The most blocks that one call sorts by size.
const MOST_SORTED: usize = 1 << 20;

/// What is to be recompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recompress {
    /// The secondary algorithm, 1 to 3. Blocks that have it, or a higher one, or for which it was tried
    /// without gain, are left.
    pub priority: u8,
    /// Which blocks.
    pub which: Which,
    /// Only objects of at least so many bytes.
    pub threshold: usize,
    /// At most so many blocks are tried, the largest first: a million in one call. All of them, in order, without.
    pub max_blocks: Option<usize>,
}

/// What a recompression did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecompressReport {
    /// Blocks that were compressed again.
    pub tried: u64,
    /// Those that became smaller.
    pub smaller: u64,
    /// Bytes of objects before, of those that became smaller.
    pub bytes_before: u64,
    /// Bytes of the same blocks' objects after.
    pub bytes_after: u64,
}

impl<B: Backing> Store<B> {
    /// Compresses blocks again. One recompression or writeback works on a store at a time.
    ///
    /// # Errors
    /// [`Error::Busy`] during another, [`Error::Invalid`] if the priority has no algorithm or the store deduplicates,
    /// [`Error::Corrupt`].
    pub fn recompress(&self, wanted: &Recompress) -> Result<RecompressReport, Error> {
        self.refuse_shared("recompression")?;
        let _alone = self.writeback.begin_pass()?;
        if wanted.priority == 0 {
            return Err(Error::Invalid("priority 0: 1 to 3 are allowed".to_owned()));
        }
        drop(self.codecs.stream(wanted.priority)?);
        let mut report = RecompressReport::default();
        match wanted.max_blocks {
            None => self.each_object(self.all_blocks(), |block, mark| {
                if self.is_wanted(wanted, mark) {
                    self.recompress_block(block, wanted, &mut report)?;
                }
                Ok(true)
            })?,
            Some(most) => {
                for block in self.largest(wanted, most.min(MOST_SORTED))? {
                    self.recompress_block(block, wanted, &mut report)?;
                }
            }
        }
        Ok(report)
    }

    fn is_wanted(&self, wanted: &Recompress, mark: Mark) -> bool {
        let has_it = match mark.form {
            Form::Compressed(number) => number >= wanted.priority,
            Form::Wide => true,
            Form::Raw => false,
        };
        !has_it && mark.tried < wanted.priority && wanted.which.takes(mark, self.codecs.highest())
    }

    /// The largest blocks that are wanted.
    fn largest(&self, wanted: &Recompress, most: usize) -> Result<Vec<u32>, Error> {
        let mut heap = BinaryHeap::new();
        if most == 0 {
            return Ok(Vec::new());
        }
        self.each_object(self.all_blocks(), |block, mark| {
            if self.is_wanted(wanted, mark) {
                let len = self.pool.read(block).map_or(0, |guard| guard.len());
                heap.push(Reverse((len, Reverse(block))));
                if heap.len() > most {
                    heap.pop();
                }
            }
            Ok(true)
        })?;
        let sorted = heap.into_sorted_vec();
        Ok(sorted
            .into_iter()
            .map(|Reverse((_, Reverse(block)))| block)
            .collect())
    }

    fn recompress_block(
        &self,
        block: u32,
        wanted: &Recompress,
        report: &mut RecompressReport,
    ) -> Result<(), Error> {
        let lock = self.lock(block)?;
        let Content::Object(mark) = lock.content() else {
            return Ok(());
        };
        if !self.is_wanted(wanted, mark) {
            return Ok(());
        }
        with_scratch(self.block_size(), |scratch| {
            let Scratch {
                block: plain,
                coded,
                joined,
            } = scratch;
            let len = {
                // A reader inside would keep the object from being replaced: its guard goes at once.
                let guard = self.read_pinned(block)?;
                let len = guard.len();
                if len < wanted.threshold {
                    return Ok(());
                }
                self.decode(block, mark.form, guard.contiguous(joined)?, plain)?;
                len
            };
            report.tried += 1;
            let new = code(
                &self.codecs,
                wanted.priority,
                self.raw_threshold,
                plain,
                coded,
            )?;
            let class = |len| self.pool.geometry().lookup(len);
            match new {
                Coded::Object(form @ Form::Compressed(_), bytes)
                    if class(bytes.len()) < class(len) =>
                {
                    lock.set_object(Mark::locked(form), bytes)?;
                    report.smaller += 1;
                    report.bytes_before += len as u64;
                    report.bytes_after += bytes.len() as u64;
                    self.counters.add(Event::Recompressed, 1);
                }
                _ => self.set_tried(block, wanted.priority),
            }
            Ok(())
        })
    }

    fn set_tried(&self, block: u32, priority: u8) {
        // An error cannot be: the block is locked, so its object stays.
        let _ = self.pool.change_bits(block, |bits| {
            let mark = Mark::of(bits);
            let tried = mark.tried.max(priority);
            Some(
                Mark {
                    tried,
                    idle: false,
                    ..mark
                }
                .bits(),
            )
        });
    }
}
