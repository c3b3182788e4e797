//! A device of plain memory, for tests and measurements of the server alone.

use crate::device::{Content, Context, Device, Errno, Extents, Space};
use crate::lengths::to_usize;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

const BLOCK: usize = 4096;
const BLOCK_BYTES: u64 = BLOCK as u64;

type Block = Option<Box<[u8]>>;

/// A device of uncompressed memory, in blocks of 4 KiB. A block is allocated by its first write and
/// freed by a discard. A read beside a write of the same block sees the old contents or the new
/// ones.
///
/// # Locking
/// Each block has a lock. No operation holds two of them.
pub struct MemoryDevice {
    blocks: Vec<Mutex<Block>>,
    size: u64,
    read_only: bool,
}

/// The part of one block that a request touches.
struct BlockPart {
    index: usize,
    within: Range<usize>,
}

impl MemoryDevice {
    /// Makes a device of `size` bytes without any block. Its table takes 24 bytes for each 4 KiB.
    ///
    /// # Errors
    /// [`Errno::NoMem`] if there is no room for the table.
    pub fn new(size: u64) -> Result<Self, Errno> {
        let count = usize::try_from(size.div_ceil(BLOCK_BYTES)).map_err(|_| Errno::NoMem)?;
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(count).map_err(|_| Errno::NoMem)?;
        blocks.resize_with(count, Mutex::default);
        Ok(Self {
            blocks,
            size,
            read_only: false,
        })
    }

    /// Returns the same device as a read-only one.
    #[must_use]
    pub fn into_read_only(self) -> Self {
        Self {
            read_only: true,
            ..self
        }
    }

    fn parts(&self, offset: u64, len: u64) -> Result<impl Iterator<Item = BlockPart>, Errno> {
        let end = offset.checked_add(len).filter(|end| *end <= self.size);
        let end = end.ok_or(Errno::Inval)?;
        let mut at = offset;
        Ok(std::iter::from_fn(move || {
            let begin = (at % BLOCK_BYTES) as usize;
            let len = to_usize((end - at).min(BLOCK_BYTES - begin as u64));
            let index = (at / BLOCK_BYTES) as usize;
            at += len as u64;
            (len > 0).then_some(BlockPart {
                index,
                within: begin..begin + len,
            })
        }))
    }

    fn lock(&self, part: &BlockPart) -> MutexGuard<'_, Block> {
        let block = self.blocks[part.index].lock();
        block.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the length of a block in bytes: less than 4 KiB for the last one of some devices.
    fn extent(&self, index: usize) -> usize {
        (self.size - index as u64 * BLOCK_BYTES).min(BLOCK_BYTES) as usize
    }
}

fn fresh() -> Box<[u8]> {
    vec![0; BLOCK].into_boxed_slice()
}

impl Device for MemoryDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<Content, Errno> {
        let mut rest = buf;
        let mut content = Content::Zeroes;
        for part in self.parts(offset, rest.len() as u64)? {
            let (now, later) = rest.split_at_mut(part.within.len());
            rest = later;
            match &*self.lock(&part) {
                Some(bytes) => {
                    content = Content::Data;
                    now.copy_from_slice(&bytes[part.within]);
                }
                None => now.fill(0),
            }
        }
        Ok(content)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut rest = bytes;
        for part in self.parts(offset, bytes.len() as u64)? {
            let (now, later) = rest.split_at(part.within.len());
            rest = later;
            let mut block = self.lock(&part);
            block.get_or_insert_with(fresh)[part.within].copy_from_slice(now);
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64, space: Space) -> Result<(), Errno> {
        for part in self.parts(offset, len)? {
            let whole = part.within.len() == self.extent(part.index);
            let mut block = self.lock(&part);
            match space {
                Space::MayFree if whole => *block = None,
                Space::Keep => block.get_or_insert_with(fresh)[part.within].fill(0),
                Space::MayFree => {
                    if let Some(bytes) = &mut *block {
                        bytes[part.within].fill(0);
                    }
                }
            }
        }
        Ok(())
    }

    fn trim(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.write_zeroes(offset, len, Space::MayFree)
    }

    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }

    fn block_status(
        &self,
        offset: u64,
        extents: &mut Extents,
        context: Context,
    ) -> Result<(), Errno> {
        if context != Context::Allocation {
            return Err(Errno::NotSup);
        }
        for part in self.parts(offset, extents.left())? {
            let status = match &*self.lock(&part) {
                None => Extents::HOLE,
                Some(bytes) if bytes.iter().all(|byte| *byte == 0) => Extents::ZERO,
                Some(_) => Extents::DATA,
            };
            if !extents.push(part.within.len() as u64, status) {
                break;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDevice")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
