//! One writeback: blocks picked, written in batches, and switched.
//!
//! # Locking
//!
//! The lock of the extents and that of the budget, for a moment; a block's, to switch it. None
//! while records are written.

use crate::backing::attached::{Attached, Pass, Stamp};
use crate::backing::record::{append, units_for};
use crate::backing::writers::{Batch, Writers, Written};
use crate::block::content::{Content, Extent, Form, ObjectFlags, UNIT};
use crate::codecs::Secondaries;
use crate::codecs::scratch::{Scratch, with_scratch};
use crate::counters::Event;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::passes::scan::BlockFilter;
use crate::store::Store;
use std::io;
use std::ops::Range;
use zs_mm::{Backing, wide};

/// Records that are written at once, and bytes of them: two of the largest fit.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 192 << 10;

/// Records that are written before the file is synced, and their blocks are switched.
const SYNCED: usize = 2048;

/// Batches in a row that fail before a pass gives up.
const FAILURES: u32 = 4;

/// The form of the bytes in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordForm {
    /// Blocks as they are stored: fewer bytes to write and read.
    #[default]
    Compressed,
    /// Blocks as they are.
    Raw,
}

/// A request to write blocks back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritebackRequest {
    /// The blocks.
    pub which: BlockFilter,
    /// Only blocks of this range of bytes of the store: those that it touches.
    pub range: Option<Range<u64>>,
    /// The form of the records.
    pub form: RecordForm,
    /// At most so many blocks.
    pub max_blocks: u64,
}

impl WritebackRequest {
    /// Returns all blocks of a kind, compressed.
    #[must_use]
    pub const fn new(which: BlockFilter) -> Self {
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
    /// Four writes in a row failed, or the file did not keep what was written
    /// ([`BlockFile::sync`](crate::BlockFile::sync)).
    Failed,
}

/// The outcome of a writeback.
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
    /// Blocks that could not be written, or not be read; they stay as they were, and their bytes
    /// are not taken off the limit.
    pub failed: u64,
    /// Why the first of them could not.
    pub first_error: Option<Error>,
}

impl WritebackReport {
    fn fail(&mut self, blocks: usize, error: Error) {
        self.failed += wide(blocks);
        self.first_error.get_or_insert(error);
    }
}

impl<B: Backing> Store<B> {
    /// Writes blocks back: their memory is given up, and they are read from the backing when they
    /// are asked for. Others use the store meanwhile; a block that they read or overwrite stays
    /// in memory. The memory of a block is given up when the file says that its storage has the
    /// record: after each 2048 records, and at the end. If it says that it has not, all of
    /// these blocks stay in memory, whatever it says later. One writeback works on a store at a
    /// time. Takes memory for some records beside what the limit counts: at most 1.5 MiB.
    ///
    /// # Errors
    /// [`Error::NoBacking`]; [`Error::Invalid`] if the store deduplicates; [`Error::Busy`];
    /// [`Error::OutOfRange`]; [`Error::Forked`]. What goes wrong with single
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
                writers: Writers::new(scope, &*attached.place.file.file),
                batch: Batch::default(),
                written: Vec::new(),
                picked: 0,
                failures: 0,
                report: WritebackReport::default(),
            };
            let scanned = run.scan(blocks);
            // Also after an error: what was written is switched, nothing stays marked.
            let report = run.finish();
            scanned.map(|()| report)
        })
    }

    fn blocks_of(&self, range: Option<&Range<u64>>) -> Result<Range<BlockIndex>, Error> {
        let Some(range) = range else {
            return Ok(self.all_blocks());
        };
        self.check_range(range.start, range.end.saturating_sub(range.start))?;
        let block_size = wide(self.block_size());
        let start = BlockIndex::of_byte(range.start, block_size);
        let end = match range.is_empty() {
            true => start,
            false => BlockIndex::behind(range.end, block_size),
        };
        Ok(start..end)
    }

    fn unpick(&self, block: BlockIndex) {
        // An error: the object is gone, and its mark with it.
        let _ = self.change_flags(block.word(), |flags| {
            flags.picked.then_some(ObjectFlags {
                picked: false,
                ..flags
            })
        });
    }

    /// Makes a block whose record is written its extent, unless it was used meanwhile.
    fn switch(&self, block: BlockIndex, extent: Extent) -> bool {
        // No memory for the lock: then the block has gone, with the page of the table that it was
        // in.
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
    /// Records that were written since the last sync.
    written: Vec<(BlockIndex, Extent)>,
    /// Blocks whose records were begun.
    picked: u64,
    /// Batches in a row that failed.
    failures: u32,
    report: WritebackReport,
}

impl<B: Backing> Run<'_, '_, '_, B> {
    fn scan(&mut self, blocks: Range<BlockIndex>) -> Result<(), Error> {
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
            let full = self.report.end == WritebackEnd::Full && self.attached.place.is_full();
            let over = [WritebackEnd::Limit, WritebackEnd::Failed].contains(&self.report.end);
            Ok(!full && !over)
        })
    }

    /// Marks a block, and appends its record, if it is still wanted and there is room for it.
    fn pick(&mut self, block: BlockIndex) {
        let store = self.store;
        let pick = |flags: ObjectFlags| {
            let wanted = !flags.locked && self.request.which.takes(flags, self.secondaries);
            wanted.then_some(ObjectFlags {
                picked: true,
                ..flags
            })
        };
        let is_picked = match store.change_flags(block.word(), pick) {
            // One that a pass left marked, when a backing's code panicked, is as good.
            Ok((before, changed)) => changed || pick(before).is_some(),
            Err(_) => false,
        };
        if is_picked && !self.append(block) {
            store.unpick(block);
        }
    }

    /// Appends the record of a block; false if it has changed, or has no place. The place is taken
    /// first: a search may be long, and a block that is pinned keeps its writers waiting.
    fn append(&mut self, block: BlockIndex) -> bool {
        let Some(len) = self.record_len(block) else {
            return false;
        };
        let Some(extent) = self.reserve(units_for(len)) else {
            return false;
        };
        match self.encode(block, extent) {
            Ok(true) => {
                self.batch.places.push((block, extent));
                self.picked += 1;
                return true;
            }
            Ok(false) => {}
            Err(error) => self.report.fail(1, error),
        }
        self.give_back(extent);
        false
    }

    /// Returns the bytes of a block's record; `None` if it is no object any more.
    fn record_len(&self, block: BlockIndex) -> Option<usize> {
        match self.request.form {
            RecordForm::Raw => Some(self.store.block_size()),
            RecordForm::Compressed => Some(self.store.read_pinned(block.word()).ok()?.len()),
        }
    }

    /// Appends the record of a block for this extent; false if the block has changed.
    fn encode(&mut self, block: BlockIndex, extent: Extent) -> Result<bool, Error> {
        let store = self.store;
        let Ok(guard) = store.read_pinned(block.word()) else {
            return Ok(false);
        };
        // While it is pinned the object stays, and so does its form; the mark tells whether it is
        // the one picked.
        let (Content::Object(mark), _) = store.content(block) else {
            return Ok(false);
        };
        let as_stored = self.request.form == RecordForm::Compressed;
        if !mark.picked || as_stored && units_for(guard.len()) != extent.units {
            return Ok(false);
        }
        let (salt, buffer) = (self.stamp.salt, &mut self.batch.buffer);
        if buffer.capacity() == 0 {
            let room = BATCH_BYTES + usize::from(units_for(store.block_size())) * UNIT;
            let reserved = buffer.try_reserve_exact(room);
            reserved.map_err(|_| Error::NoMemory)?;
        }
        with_scratch(store.block_size(), |scratch| {
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
            Ok(true)
        })
    }

    /// Returns a place for a record, and its bytes taken off the limit.
    fn reserve(&mut self, units: u16) -> Option<Extent> {
        let bytes = u64::from(units) * wide(UNIT);
        if !self.store.writeback.debit(bytes) {
            self.report.end = WritebackEnd::Limit;
            return None;
        }
        let Some(start) = self.attached.place.take(units) else {
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
        self.attached.place.free(extent);
        self.store.writeback.refund(wide(extent.bytes()));
    }

    fn submit(&mut self, is_last: bool) {
        let batch = std::mem::take(&mut self.batch);
        if let Some(written) = self.writers.submit(batch, is_last) {
            self.complete(written);
        }
        if self.written.len() >= SYNCED {
            self.settle();
        }
    }

    fn complete(&mut self, (batch, outcome): Written) {
        match outcome {
            Ok(()) => {
                self.failures = 0;
                self.written.extend(batch.places);
            }
            Err(error) => {
                self.abandon(&batch.places, error);
                self.failures += 1;
                if self.failures == FAILURES {
                    self.report.end = WritebackEnd::Failed;
                }
            }
        }
    }

    /// Leaves blocks as they are, and frees their extents.
    fn abandon(&mut self, places: &[(BlockIndex, Extent)], error: io::Error) {
        for (block, extent) in places {
            self.store.unpick(*block);
            self.give_back(*extent);
        }
        let error = Error::io("writing blocks back")(error);
        self.report.fail(places.len(), error);
    }

    /// Syncs the file, and switches the blocks of all records that were written since it was synced
    /// last to their extents. No write is under way meanwhile: a sync that fails tells of some
    /// write, nobody knows of which, and the next one may succeed though that write was lost.
    fn settle(&mut self) {
        while let Some(written) = self.writers.finished() {
            self.complete(written);
        }
        let places = std::mem::take(&mut self.written);
        if places.is_empty() {
            return;
        }
        if let Err(error) = self.attached.place.sync() {
            self.abandon(&places, error);
            self.report.end = WritebackEnd::Failed;
            return;
        }
        for (block, extent) in &places {
            self.report.bytes += wide(extent.bytes());
            if self.store.switch(*block, *extent) {
                self.report.blocks += 1;
            } else {
                self.attached.place.free(*extent);
                self.report.changed += 1;
            }
        }
        let written = wide(places.len());
        self.store.counters.add(Event::BackingWrites, written);
    }

    fn finish(mut self) -> WritebackReport {
        if !self.batch.places.is_empty() {
            self.submit(true);
        }
        self.settle();
        self.report
    }
}
