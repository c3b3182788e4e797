//! Which blocks a pass over the store is about.

use crate::block::content::{Content, Form, ObjectFlags};
use crate::codecs::Secondaries;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
use std::ops::Range;
use zs_mm::Backing;

/// The blocks that a recompression or a writeback takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFilter {
    /// All that are compressed or raw, and in memory.
    All,
    /// Those marked idle.
    Idle,
    /// Those stored raw.
    Huge,
    /// Those marked idle and stored raw.
    HugeIdle,
    /// Those that each secondary algorithm was tried for, and none made smaller.
    Incompressible,
}

impl BlockFilter {
    pub(crate) fn takes(self, mark: ObjectFlags, secondaries: Secondaries) -> bool {
        let huge = mark.form == Form::Raw;
        let wanted = match self {
            Self::All => true,
            Self::Idle => mark.idle,
            Self::Huge => huge,
            Self::HugeIdle => huge && mark.idle,
            Self::Incompressible => {
                let tried = mark.tried & secondaries.0 == secondaries.0 && secondaries.0 != 0;
                tried && matches!(mark.form, Form::Raw | Form::Compressed(0))
            }
        };
        wanted && mark.form != Form::Wide
    }
}

impl<B: Backing> Store<B> {
    /// Calls `visit` for each compressed or raw block in memory, in order, until it answers false.
    pub(crate) fn each_object(
        &self,
        blocks: Range<BlockIndex>,
        mut visit: impl FnMut(BlockIndex, ObjectFlags) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut next = blocks.start;
        while let Some(open) = self.table().next_open(next, blocks.end) {
            for block in BlockIndex::each(open.clone()) {
                if let Content::Object(mark) = self.content(block).0
                    && mark.form != Form::Wide
                    && !visit(block, mark)?
                {
                    return Ok(());
                }
            }
            next = open.end;
        }
        Ok(())
    }

    /// Returns all blocks that the store shows.
    pub(crate) fn all_blocks(&self) -> Range<BlockIndex> {
        BlockIndex::default()..self.end()
    }
}
