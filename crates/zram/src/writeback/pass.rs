//! One writeback: blocks picked, written in batches, and switched.

use super::extents::UNIT;
use super::file::write_all;
use super::{Attached, lock};
use crate::content::{Content, Extent, Form, Mark};
use crate::counters::Event;
use crate::error::Error;
use crate::scan::Which;
use crate::scratch::{Scratch, with_scratch};
use crate::store::Store;
use crate::writeback::record::append;
use std::ops::Range;
use zs_mm::Backing;

/// Records that are written at once.
const BATCH: usize = 32;

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
    /// Only blocks of this range of bytes of the store.
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
    /// The backing is full.
    Full,
}

/// What a writeback did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WritebackReport {
    /// Why it ended.
    pub end: WritebackEnd,
    /// Blocks that lie in the backing now.
    pub blocks: u64,
    /// Bytes of records that were written.
    pub bytes: u64,
    /// Blocks that changed while they were written, and stay in memory.
    pub changed: u64,
}

/// Records under way to the backing.
#[derive(Debug, Default)]
struct Batch {
    buffer: Vec<u8>,
    blocks: Vec<(u32, u16)>,
}

impl<B: Backing> Store<B> {
    /// Writes blocks back: their memory is given up, and they are read from the backing when they are asked for. Others
    /// use the store meanwhile; a block that they overwrite stays in memory. One recompression or writeback works
    /// on a store at a time.
    ///
    /// # Errors
    /// [`Error::NoBacking`]; [`Error::Invalid`] if the store deduplicates; [`Error::Busy`]; [`Error::OutOfRange`]; [`Error::Io`] if the backing fails: the blocks of
    /// that batch stay in memory, and its bytes come back to the limit.
    pub fn writeback(&self, request: &WritebackRequest) -> Result<WritebackReport, Error> {
        self.refuse_shared("writeback")?;
        let _alone = self.writeback.begin_pass()?;
        let attached = self.writeback.attached()?;
        let blocks = self.blocks_of(request.range.as_ref())?;
        let highest = self.codecs.highest();
        let mut report = WritebackReport::default();
        let mut batch = Batch::default();
        let mut picked = 0;
        let scanned = self.each_object(blocks, |block, mark| {
            if picked == request.max_blocks {
                return Ok(false);
            }
            if !request.which.takes(mark, highest) || !self.pick(block, request, &mut batch)? {
                return Ok(true);
            }
            picked += 1;
            if batch.blocks.len() == BATCH {
                report.end = self.submit(&attached, &mut batch, &mut report)?;
            }
            Ok(report.end == WritebackEnd::Done)
        });
        let submitted = match &scanned {
            Ok(()) => self.submit(&attached, &mut batch, &mut report),
            Err(_) => {
                self.unpick(&batch.blocks);
                Ok(report.end)
            }
        };
        scanned?;
        let end = submitted?;
        if report.end == WritebackEnd::Done {
            report.end = end;
        }
        Ok(report)
    }

    fn blocks_of(&self, range: Option<&Range<u64>>) -> Result<Range<u32>, Error> {
        let Some(range) = range else {
            return Ok(self.all_blocks());
        };
        self.check_range(range.start, range.end.saturating_sub(range.start))?;
        let block_size = self.block_size() as u64;
        let end = range.end.div_ceil(block_size).max(range.start / block_size);
        Ok((range.start / block_size) as u32..end as u32)
    }

    /// Marks a block, and appends its record; false if it is in use, or is no object any more.
    fn pick(
        &self,
        block: u32,
        request: &WritebackRequest,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        let pick = |bits| {
            let mark = Mark::of(bits);
            (!mark.locked).then(|| {
                Mark {
                    picked: true,
                    ..mark
                }
                .bits()
            })
        };
        match self.pool.change_bits(block, pick) {
            Ok((bits, _)) if !Mark::of(bits).locked => {}
            _ => return Ok(false),
        }
        let Ok(guard) = self.read_pinned(block) else {
            return Ok(false);
        };
        // While it is pinned the object stays, and so does its form; the mark tells whether it is the one picked.
        let Content::Object(mark) = self.content(block).0 else {
            return Ok(false);
        };
        if !mark.picked {
            return Ok(false);
        }
        let before = batch.buffer.len();
        with_scratch(self.block_size(), |scratch| {
            let Scratch {
                block: plain,
                joined,
                ..
            } = scratch;
            let bytes = guard.contiguous(joined)?;
            match request.form {
                RecordForm::Compressed => append(&mut batch.buffer, block, mark.form, bytes),
                RecordForm::Raw => {
                    self.decode(block, mark.form, bytes, plain)?;
                    append(&mut batch.buffer, block, Form::Raw, plain);
                }
            }
            Ok::<(), Error>(())
        })
        .inspect_err(|_| self.unpick(&[(block, 0)]))?;
        let units = (batch.buffer.len() - before) / UNIT;
        batch.blocks.push((block, units as u16));
        Ok(true)
    }

    /// Writes a batch, and switches its blocks. The batch is empty afterwards.
    fn submit(
        &self,
        attached: &Attached,
        batch: &mut Batch,
        report: &mut WritebackReport,
    ) -> Result<WritebackEnd, Error> {
        let mut end = WritebackEnd::Done;
        let mut places: Vec<(u32, Extent)> = Vec::with_capacity(batch.blocks.len());
        for (block, units) in &batch.blocks {
            if !self.writeback.debit(bytes_of(*units)) {
                end = WritebackEnd::Limit;
                break;
            }
            let Some(extent) = lock(&attached.extents).take(*units) else {
                self.writeback.refund(bytes_of(*units));
                end = WritebackEnd::Full;
                break;
            };
            places.push((*block, extent));
        }
        let outcome = write_runs(attached, &places, &batch.buffer);
        self.unpick(&batch.blocks[places.len()..]);
        if let Err(error) = outcome {
            self.unpick(&batch.blocks[..places.len()]);
            for (_, extent) in &places {
                lock(&attached.extents).free(*extent);
                self.writeback.refund(bytes_of(extent.units));
            }
            *batch = Batch::default();
            return Err(Error::io("writing blocks back")(error));
        }
        for (block, extent) in &places {
            report.bytes += bytes_of(extent.units);
            if self.switch(*block, *extent) {
                report.blocks += 1;
            } else {
                lock(&attached.extents).free(*extent);
                report.changed += 1;
            }
        }
        self.counters.add(Event::BackingWrites, places.len() as u64);
        batch.buffer.clear();
        batch.blocks.clear();
        Ok(end)
    }

    /// A block whose record is written becomes its extent, unless it has changed.
    fn switch(&self, block: u32, extent: Extent) -> bool {
        // No memory for the lock: then the block has gone, with the piece of the table that it was in.
        let Ok(lock) = self.lock(block) else {
            return false;
        };
        let unchanged = matches!(lock.content(), Content::Object(mark) if mark.picked);
        unchanged && lock.set(Content::Backed(extent)).is_ok()
    }

    fn unpick(&self, blocks: &[(u32, u16)]) {
        for (block, _) in blocks {
            // An error: the object is gone, and its mark with it.
            let _ = self.pool.change_bits(*block, |bits| {
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
    }
}

fn bytes_of(units: u16) -> u64 {
    u64::from(units) * UNIT as u64
}

/// Writes records to their extents, neighbours together.
fn write_runs(attached: &Attached, places: &[(u32, Extent)], buffer: &[u8]) -> std::io::Result<()> {
    let mut at = 0;
    let together =
        |a: &(u32, Extent), b: &(u32, Extent)| a.1.start + u32::from(a.1.units) == b.1.start;
    for run in places.chunk_by(together) {
        let bytes: usize = run
            .iter()
            .map(|(_, extent)| usize::from(extent.units) * UNIT)
            .sum();
        let offset = u64::from(run[0].1.start) * UNIT as u64;
        write_all(&*attached.file.file, &buffer[at..at + bytes], offset)?;
        at += bytes;
    }
    Ok(())
}
