//! RECOMPRESS: blocks made smaller by a slower algorithm.
//!
//! candidates (the largest first, if only so many are wanted) -> the block's lock -> decompressed
//! -> compressed by the secondary algorithm -> in a smaller size class? replaced, else marked as
//! tried. Readers go on meanwhile, writers of this one block wait. With no memory for the smaller
//! object beside the larger one, frames are used that were kept back for this; and objects are
//! moved together.

use crate::backing::attached::Pass;
use crate::block::content::{Form, ObjectFlags};
use crate::codecs::Secondaries;
use crate::codecs::scratch::{Scratch, with_scratch};
use crate::counters::Event;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::passes::scan::BlockFilter;
use crate::store::Store;
use crate::store::lock::{BlockLock, Coded};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use zs_mm::{Backing, wide};
use zsmalloc::CompactBudget;

/// The most blocks that one call sorts by size: 1 MiB beside what the limit counts.
const MOST_SORTED: usize = 1 << 16;

/// Objects that are moved when there is no memory for a smaller object, and blocks for which that
/// is not done again if it was in vain.
const MOVED: u64 = 1024;
const IN_VAIN: u32 = 64;

/// A request to recompress blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recompress {
    /// The secondary algorithm, 1 to 3. Blocks that have it, or a higher one, or for which it was
    /// tried without gain since they were written, are left.
    pub priority: u8,
    /// The blocks.
    pub which: BlockFilter,
    /// Only objects of at least so many bytes.
    pub threshold: usize,
    /// At most so many blocks are tried, the largest first: 65536 in one call. All of them, in
    /// order, without.
    pub max_blocks: Option<usize>,
}

/// The outcome of a recompression.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RecompressReport {
    /// Blocks that were compressed again.
    pub tried: u64,
    /// Those that became smaller.
    pub smaller: u64,
    /// Bytes of objects before, of those that became smaller.
    pub bytes_before: u64,
    /// Bytes of the same blocks' objects after.
    pub bytes_after: u64,
    /// Blocks that could not be read, or for whose smaller object there was no memory: they stay
    /// as they were.
    pub failed: u64,
    /// Why the first of them could not.
    pub first_error: Option<Error>,
}

/// A recompression under way.
struct Run<'a> {
    wanted: &'a Recompress,
    secondaries: Secondaries,
    report: RecompressReport,
    /// Blocks that go on without objects being moved for them.
    without: u32,
}

impl<B: Backing> Store<B> {
    /// Compresses blocks again. One recompression works on a store at a time. Works at the memory
    /// limit, too.
    ///
    /// # Errors
    /// [`Error::Busy`] during another, [`Error::Invalid`] if the priority has no algorithm or the
    /// store deduplicates, [`Error::Forked`]. What goes
    /// wrong with single blocks is in the report.
    pub fn recompress(&self, wanted: &Recompress) -> Result<RecompressReport, Error> {
        self.refuse_shared("recompression")?;
        let _alone = self.writeback.begin(Pass::Recompress)?;
        if wanted.priority == 0 {
            return Err(Error::Invalid("priority 0: 1 to 3 are allowed".to_owned()));
        }
        drop(self.stream(wanted.priority)?);
        let mut run = Run {
            wanted,
            secondaries: self.codecs.secondaries(),
            report: RecompressReport::default(),
            without: 0,
        };
        self.reserve_frames();
        let scanned = match wanted.max_blocks {
            None => self.each_object(self.all_blocks(), |block, mark| {
                if run.is_wanted(mark) {
                    self.recompress_or_count(block, &mut run)?;
                }
                Ok(true)
            }),
            Some(most) => {
                let mut blocks = self.largest(&run, most.min(MOST_SORTED))?.into_iter();
                blocks.try_for_each(|block| self.recompress_or_count(block, &mut run))
            }
        };
        self.reserve_frames();
        scanned.map(|()| run.report)
    }

    /// Returns the largest blocks that are wanted.
    fn largest(&self, run: &Run<'_>, most: usize) -> Result<Vec<BlockIndex>, Error> {
        let mut heap = BinaryHeap::new();
        if most == 0 {
            return Ok(Vec::new());
        }
        heap.try_reserve_exact(most.saturating_add(1))
            .map_err(|_| Error::NoMemory)?;
        self.each_object(self.all_blocks(), |block, mark| {
            if run.is_wanted(mark) {
                let len = self.pool.read(block.word()).map_or(0, |guard| guard.len());
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

    /// Only what ends the whole pass is an error.
    fn recompress_or_count(&self, block: BlockIndex, run: &mut Run<'_>) -> Result<(), Error> {
        let tried = run.report.tried;
        let mut outcome = self.recompress_block(block, run);
        if matches!(outcome, Err(Error::NoMemory)) && self.use_reserve() {
            run.report.tried = tried;
            outcome = self.recompress_block(block, run);
        }
        if matches!(outcome, Err(Error::NoMemory)) && run.without == 0 {
            // What the pass has made smaller left holes.
            self.compact(CompactBudget::objects(MOVED));
            run.report.tried = tried;
            outcome = self.recompress_block(block, run);
            run.without = if outcome.is_err() { IN_VAIN } else { 0 };
        }
        run.without = run.without.saturating_sub(1);
        match outcome {
            Err(Error::Forked) => return Err(Error::Forked),
            Err(error) => {
                run.report.failed += 1;
                run.report.first_error.get_or_insert(error);
            }
            Ok(()) => {}
        }
        Ok(())
    }

    fn recompress_block(&self, block: BlockIndex, run: &mut Run<'_>) -> Result<(), Error> {
        let Some((lock, mark)) = self.lock_object(block)? else {
            return Ok(());
        };
        if !run.is_wanted(mark) {
            return Ok(());
        }
        with_scratch(self.block_size(), |scratch| {
            let Scratch {
                block: plain,
                coded,
                joined,
            } = scratch;
            let len = {
                // A reader inside would keep the object from being replaced: its guard goes at
                // once.
                let guard = self.read_pinned(block.word())?;
                let len = guard.len();
                if len < run.wanted.threshold {
                    return Ok(());
                }
                self.decode(block, mark.form, guard.contiguous(joined)?, plain)?;
                len
            };
            run.report.tried += 1;
            let new = self.code(run.wanted.priority, plain, coded)?;
            self.replace_if_smaller(&lock, block, len, new, run)
        })
    }

    fn replace_if_smaller(
        &self,
        lock: &BlockLock<'_, B>,
        block: BlockIndex,
        len: usize,
        new: Coded<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let class = |len| self.pool.geometry().lookup(len);
        match new {
            Coded::Object(form @ Form::Compressed(_), bytes) if class(bytes.len()) < class(len) => {
                lock.set_object(ObjectFlags::locked(form), bytes)?;
                run.report.smaller += 1;
                run.report.bytes_before += wide(len);
                run.report.bytes_after += wide(bytes.len());
                self.counters.add(Event::Recompressed, 1);
            }
            _ => self.set_tried(block, run.wanted.priority),
        }
        Ok(())
    }

    fn set_tried(&self, block: BlockIndex, priority: u8) {
        // An error cannot be: the block is locked, so its object stays.
        let _ = self.change_flags(block.word(), |flags| {
            Some(ObjectFlags {
                tried: flags.tried | bit(priority),
                idle: false,
                ..flags
            })
        });
    }
}

impl Run<'_> {
    fn is_wanted(&self, mark: ObjectFlags) -> bool {
        let has_it = match mark.form {
            Form::Compressed(number) => number >= self.wanted.priority,
            Form::Wide => true,
            Form::Raw | Form::Padded => false,
        };
        let was_tried = mark.tried & bit(self.wanted.priority) != 0;
        !has_it && !was_tried && self.wanted.which.takes(mark, self.secondaries)
    }
}

/// Returns a secondary algorithm among those that were tried.
fn bit(priority: u8) -> u8 {
    1 << (priority - 1)
}
