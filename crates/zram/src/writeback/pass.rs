//! One writeback: blocks picked, written in batches, and switched.
//!
//! # Locking
//!
//! The lock of the extents and that of the budget, for a moment; a block's, to switch it. None while records are written.

use super::extents::UNIT;
use super::record::{append, units_for};
use super::writers::{Writers, Written};
use super::{Attached, Pass, Stamp};
use crate::content::{Content, Extent, Form, Mark};
use crate::counters::Event;
use crate::error::Error;
use crate::scan::{Secondaries, Which};
use crate::scratch::{Scratch, with_scratch};
use crate::store::Store;
use std::ops::Range;
use zs_mm::Backing;

/// Records that are written at once, and bytes of them: two of the largest fit.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 192 << 10;

/// Batches in a row that fail before a pass gives up.
const FAILURES: u32 = 4;

/// What records hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordForm {
    /// Blocks as they are stored: fewer bytes to write and read.
    #[default]
    Compressed,
    /// Blocks as they are.
    Raw,
}

/// What is to be written back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritebackRequest {
    /// Which blocks.
    pub which: Which,
    /// Only blocks of this range of bytes of the store: those that it touches.
    pub range: Option<Range<u64>>,
    /// How.
    pub form: RecordForm,
    /// At most so many blocks.
    pub max_blocks: u64,
}

impl WritebackRequest {
    /// All blocks of a kind, compressed.
    #[must_use]
    pub const fn new(which: Which) -> Self {
        Self {
            which,
            range: None,
            form: RecordForm::Compressed,
            max_blocks: u64::MAX,
        }
    }
}

/// Why a writeback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WritebackEnd {
    /// Every block was looked at, or as many written as were asked for.
    #[default]
    Done,
    /// The [limit](Store::set_writeback_limit) is reached.
    Limit,
    /// The backing had no room for some of them.
    Full,
    /// Four writes in a row failed.
    Failed,
}

/// What a writeback did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct WritebackReport {
    /// Why it ended.
    pub end: WritebackEnd,
    /// Blocks that lie in the backing now.
    pub blocks: u64,
    /// Bytes of records that were written.
    pub bytes: u64,
    /// Blocks that were used while they were written, and stay in memory.
    pub changed: u64,
    /// Blocks for which the backing has no room; smaller ones may have found some.
    pub skipped: u64,
    /// Blocks that could not be written, or not be read; they stay as they were, and their bytes are not taken off the
    /// limit.
    pub failed: u64,
    /// Why the first of them could not.
    pub first_error: Option<Error>,
}

impl WritebackReport {
    fn fail(&mut self, blocks: usize, error: Error) {
        self.failed += blocks as u64;
        self.first_error.get_or_insert(error);
    }
}

/// Records under way to the backing.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) buffer: Vec<u8>,
    pub(crate) places: Vec<(u32, Extent)>,
}

impl<B: Backing> Store<B> {
    /// Writes blocks back: their memory is given up, and they are read from the backing when they are asked for. Others
    /// use the store meanwhile; a block that they read or overwrite stays in memory. One writeback works
    /// on a store at a time. Takes memory for some records beside what the limit counts: at most 1 MiB.
    ///
    /// # Errors
    /// [`Error::NoBacking`]; [`Error::Invalid`] if the store deduplicates; [`Error::Busy`]; [`Error::OutOfRange`]; [`Error::Forked`]. What goes wrong with single
    /// blocks is in the report.
    pub fn writeback(&self, request: &WritebackRequest) -> Result<WritebackReport, Error> {
        self.refuse_shared("writeback")?;
        let _alone = self.writeback.begin(Pass::Writeback)?;
        if self.arena().is_forked() {
            return Err(Error::Forked);
        }
        let attached = self.writeback.attached()?;
        let blocks = self.blocks_of(request.range.as_ref())?;
        std::thread::scope(|scope| {
            let mut run = Run {
                store: self,
                request,
                attached: &attached,
                stamp: attached.next_round(),
                secondaries: self.codecs.secondaries(),
                writers: Writers::new(scope, &*attached.file.file),
                batch: Batch::default(),
                picked: 0,
                failures: 0,
                report: WritebackReport::default(),
            };
            run.scan(blocks)?;
            Ok(run.finish())
        })
    }

    fn blocks_of(&self, range: Option<&Range<u64>>) -> Result<Range<u32>, Error> {
        let Some(range) = range else {
            return Ok(self.all_blocks());
        };
        self.check_range(range.start, range.end.saturating_sub(range.start))?;
        let block_size = self.block_size() as u64;
        let start = range.start / block_size;
        let end = match range.is_empty() {
            true => start,
            false => range.end.div_ceil(block_size),
        };
        Ok(start as u32..end as u32)
    }

    fn unpick(&self, block: u32) {
        // An error: the object is gone, and its mark with it.
        let _ = self.pool.change_bits(block, |bits| {
            let mark = Mark::of(bits);
            mark.picked.then(|| {
                Mark {
                    picked: false,
                    ..mark
                }
                .bits()
            })
        });
    }

    /// A block whose record is written becomes its extent, unless it was used meanwhile.
    fn switch(&self, block: u32, extent: Extent) -> bool {
        // No memory for the lock: then the block has gone, with the piece of the table that it was in.
        let Ok(lock) = self.lock(block) else {
            return false;
        };
        let unchanged = matches!(lock.content(), Content::Object(mark) if mark.picked);
        unchanged && lock.set(Content::Backed(extent)).is_ok()
    }
}

/// A writeback under way.
struct Run<'a, 'scope, 'env, B: Backing> {
    store: &'a Store<B>,
    request: &'a WritebackRequest,
    attached: &'a Attached,
    stamp: Stamp,
    secondaries: Secondaries,
    writers: Writers<'scope, 'env>,
    batch: Batch,
    /// Blocks whose records were begun.
    picked: u64,
    /// Batches in a row that failed.
    failures: u32,
    report: WritebackReport,
}

impl<B: Backing> Run<'_, '_, '_, B> {
    fn scan(&mut self, blocks: Range<u32>) -> Result<(), Error> {
        let store = self.store;
        store.each_object(blocks, |block, mark| {
            if self.picked == self.request.max_blocks {
                return Ok(false);
            }
            if self.request.which.takes(mark, self.secondaries) {
                self.pick(block);
                if self.batch.places.len() == BATCH || self.batch.buffer.len() >= BATCH_BYTES {
                    self.submit(false);
                }
            }
            let full = self.report.end == WritebackEnd::Full && self.attached.is_full();
            let over = [WritebackEnd::Limit, WritebackEnd::Failed].contains(&self.report.end);
            Ok(!full && !over)
        })
    }

    /// Marks a block, and appends its record, if it is still wanted and there is room for it.
    fn pick(&mut self, block: u32) {
        let store = self.store;
        let pick = |bits| {
            let mark = Mark::of(bits);
            let wanted = !mark.locked && self.request.which.takes(mark, self.secondaries);
            wanted.then(|| {
                Mark {
                    picked: true,
                    ..mark
                }
                .bits()
            })
        };
        let is_picked = match store.pool.change_bits(block, pick) {
            // One that a pass left marked, when a backing's code panicked, is as good.
            Ok((bits, changed)) => changed || pick(bits).is_some(),
            Err(_) => false,
        };
        if is_picked && !self.append(block) {
            store.unpick(block);
        }
    }

    /// Appends the record of a block; false if it has changed, or has no place.
    fn append(&mut self, block: u32) -> bool {
        let store = self.store;
        let Ok(guard) = store.read_pinned(block) else {
            return false;
        };
        // While it is pinned the object stays, and so does its form; the mark tells whether it is the one picked.
        let (Content::Object(mark), _) = store.content(block) else {
            return false;
        };
        if !mark.picked {
            return false;
        }
        let as_stored = self.request.form == RecordForm::Compressed;
        let len = if as_stored {
            guard.len()
        } else {
            store.block_size()
        };
        let Some(extent) = self.reserve(units_for(len)) else {
            return false;
        };
        let (salt, buffer) = (self.stamp.salt, &mut self.batch.buffer);
        let appended = with_scratch(store.block_size(), |scratch| {
            let Scratch {
                block: plain,
                joined,
                ..
            } = scratch;
            let bytes = guard.contiguous(joined)?;
            if as_stored {
                append(buffer, block, extent, salt, mark.form, bytes);
            } else {
                store.decode(block, mark.form, bytes, plain)?;
                append(buffer, block, extent, salt, Form::Raw, plain);
            }
            Ok::<(), Error>(())
        });
        match appended {
            Ok(()) => {
                self.batch.places.push((block, extent));
                self.picked += 1;
            }
            Err(error) => {
                self.give_back(extent);
                self.report.fail(1, error);
            }
        }
        self.batch.places.last().is_some_and(|last| last.0 == block)
    }

    /// A place for a record, and its bytes taken off the limit.
    fn reserve(&mut self, units: u16) -> Option<Extent> {
        let bytes = u64::from(units) * UNIT as u64;
        if !self.store.writeback.debit(bytes) {
            self.report.end = WritebackEnd::Limit;
            return None;
        }
        let Some(start) = self.attached.take(units) else {
            self.store.writeback.refund(bytes);
            self.report.end = WritebackEnd::Full;
            self.report.skipped += 1;
            return None;
        };
        let round = self.stamp.round;
        Some(Extent {
            start,
            units,
            round,
        })
    }

    fn give_back(&self, extent: Extent) {
        self.attached.free(extent);
        self.store.writeback.refund(extent.bytes() as u64);
    }

    fn submit(&mut self, is_last: bool) {
        let batch = std::mem::take(&mut self.batch);
        if let Some(written) = self.writers.submit(batch, is_last) {
            self.complete(written);
        }
    }

    /// Switches the blocks of a batch to their extents, or leaves them.
    fn complete(&mut self, (batch, outcome): Written) {
        if let Err(error) = outcome {
            for (block, extent) in &batch.places {
                self.store.unpick(*block);
                self.give_back(*extent);
            }
            let error = Error::io("writing blocks back")(error);
            self.report.fail(batch.places.len(), error);
            self.failures += 1;
            if self.failures == FAILURES {
                self.report.end = WritebackEnd::Failed;
            }
            return;
        }
        self.failures = 0;
        for (block, extent) in &batch.places {
            self.report.bytes += extent.bytes() as u64;
            if self.store.switch(*block, *extent) {
                self.report.blocks += 1;
            } else {
                self.attached.free(*extent);
                self.report.changed += 1;
            }
        }
        let written = batch.places.len() as u64;
        self.store.counters.add(Event::BackingWrites, written);
    }

    fn finish(mut self) -> WritebackReport {
        if !self.batch.places.is_empty() {
            self.submit(true);
        }
        while let Some(written) = self.writers.finished() {
            self.complete(written);
        }
        self.report
    }
}
