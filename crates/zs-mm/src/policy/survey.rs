//! A look for neighbouring frames that are free, or can be made so with the least to move.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::error::Error;
use crate::frame::cache::FrameBatch;
use crate::frame::mask::FrameMask;
use crate::frame_status::FrameStatus;
use crate::movable::Movable;
use crate::size::{FrameId, ZoneId};
use crate::zone::Zone;
use crate::zone::block::{BlockId, Blocks, FLAG_RESERVED};
use core::ops::Range;
use zs_sync::Host;

/// The best places that a survey remembers.
const PLACES: usize = 8;

/// Neighbouring frames, none of which anybody is known to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Window {
    /// Frames in use: to be moved.
    used: usize,
    /// Frames without memory: to be committed.
    bare: usize,
    pub(crate) first: FrameId,
}

/// The outcome of a survey.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The best first.
    best: [Option<Window>; PLACES],
    /// What stood in the way in the best place that was refused.
    refused: Option<(Window, FrameStatus)>,
}

/// A block, as it was at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockLook {
    pub(crate) free: FrameMask,
    pub(crate) committed: FrameMask,
    pub(crate) flags: u64,
}

/// Neighbouring blocks that a survey passes over.
#[derive(Debug, Clone, Copy)]
struct Passage {
    first: BlockId,
    used: usize,
    bare: usize,
}

impl Survey {
    /// Says whether there is a place where nothing need be moved.
    pub(crate) fn has_free_window(&self) -> bool {
        self.best[0].is_some_and(|window| window.used == 0)
    }

    /// Returns the places, the best first.
    pub(crate) fn windows(&self) -> impl Iterator<Item = Window> {
        self.best.into_iter().flatten()
    }

    /// Says why there is no place.
    pub(crate) fn refusal(&self) -> Error {
        self.refused
            .map_or(Error::NoMemory, |(window, status)| Error::InTheWay {
                frame: window.first,
                status,
            })
    }

    /// Says whether nothing better can come; a few frames without memory are soon committed.
    fn is_settled(&self) -> bool {
        let handful = FrameBatch::CAPACITY;
        self.best[0].is_some_and(|window| window.used == 0 && window.bare <= handful)
    }

    /// Remembers a place, if it is one of the best, unless something in it is refused.
    fn add(&mut self, window: Window, refuses: impl FnOnce() -> Option<(FrameId, FrameStatus)>) {
        let worse = |place: &Option<Window>| place.is_none_or(|place| window < place);
        let Some(at) = self.best.iter().position(worse) else {
            return;
        };
        match refuses() {
            Some((first, status)) => {
                let refused = (Window { first, ..window }, status);
                let is_better = |(before, _)| refused.0 < before;
                if self.refused.is_none_or(is_better) {
                    self.refused = Some(refused);
                }
            }
            None => {
                self.best[at..].rotate_right(1);
                self.best[at] = Some(window);
            }
        }
    }
}

impl<B: Backing> Arena<B> {
    /// Looks at every opened block of the zones that are online for places of `len` frames, a power
    /// of two. One block in each hold of a zone's lock.
    pub(crate) fn survey(&self, len: usize, owners: &[&dyn Movable]) -> Survey {
        let mut survey = Survey {
            best: [None; PLACES],
            refused: None,
        };
        for zone in &self.zones {
            let mut passage = Passage::from(zone.blocks().start);
            for block in BlockId::each(zone.blocks()) {
                let look = zone.look(self.host, &self.blocks, block);
                let Some(look) = look.filter(|_| !survey.is_settled()) else {
                    break;
                };
                if look.flags & FLAG_RESERVED != 0 {
                    passage = Passage::from(block.above());
                } else if len < self.blocks.frames {
                    self.survey_block(block, &look, len, owners, &mut survey);
                } else {
                    self.pass(block, &look, &mut passage, len);
                    self.survey_passage(block, &passage, len, owners, &mut survey);
                }
            }
        }
        survey
    }

    /// Looks for windows within a block.
    fn survey_block(
        &self,
        block: BlockId,
        look: &BlockLook,
        len: usize,
        owners: &[&dyn Movable],
        survey: &mut Survey,
    ) {
        // In a full block all windows are alike.
        let end = if look.free.is_empty() {
            len
        } else {
            self.blocks.frames
        };
        for start in (0..end).step_by(len) {
            let frames = FrameMask::range(start, len);
            let window = Window {
                used: frames.without(look.free).count(),
                bare: frames.without(look.committed).count(),
                first: self.blocks.frame(block, start),
            };
            survey.add(window, || self.refused_in(window.first, len, owners));
        }
    }

    /// Passes on to a block; leaves the first behind if they are more than fill `len` frames.
    fn pass(&self, block: BlockId, look: &BlockLook, passage: &mut Passage, len: usize) {
        let frames = self.blocks.frames;
        passage.used += frames - look.free.count();
        passage.bare += frames - look.committed.count();
        if (block.index() - passage.first.index()) * frames < len {
            return;
        }
        let first = self
            .zone_of(block)
            .look(self.host, &self.blocks, passage.first);
        if let Some(left) = first {
            // It may have changed since it was counted: a window is a guess.
            let (used, bare) = (frames - left.free.count(), frames - left.committed.count());
            passage.used = passage.used.saturating_sub(used);
            passage.bare = passage.bare.saturating_sub(bare);
        }
        passage.first = passage.first.above();
    }

    /// Looks at the blocks that were passed last, if they are as many as it takes.
    fn survey_passage(
        &self,
        block: BlockId,
        passage: &Passage,
        len: usize,
        owners: &[&dyn Movable],
        survey: &mut Survey,
    ) {
        if (block.above().index() - passage.first.index()) * self.blocks.frames == len {
            let window = Window {
                used: passage.used,
                bare: passage.bare,
                first: self.blocks.frame(passage.first, 0),
            };
            survey.add(window, || self.refused_in(window.first, len, owners));
        }
    }

    fn refused_in(
        &self,
        first: FrameId,
        len: usize,
        owners: &[&dyn Movable],
    ) -> Option<(FrameId, FrameStatus)> {
        self.refused((first.0..).take(len).map(FrameId), owners)
    }

    /// Opens blocks that were never used, for a window of `len` frames; `None` if no zone has so
    /// many, or there is no memory for what describes them.
    pub(crate) fn open_window(&self, len: usize) -> Option<Window> {
        let blocks = len.div_ceil(self.blocks.frames);
        self.zones().find_map(|zone| {
            let first = self.zone(zone).ok()?.unopened(self.host)?;
            let last = first.start.plus(blocks - 1);
            if !first.contains(&last) {
                return None;
            }
            self.open_up_to(zone, last).ok()?;
            Some(Window {
                used: 0,
                bare: len,
                first: self.blocks.frame(first.start, 0),
            })
        })
    }

    /// Opens the blocks of a zone up to and with `last`.
    pub(crate) fn open_up_to(&self, zone: ZoneId, last: BlockId) -> Result<(), Error> {
        let zone = self.zone(zone)?;
        while let Some(unopened) = zone.unopened(self.host) {
            if unopened.start > last {
                break;
            }
            self.open_block(zone, unopened.start)?;
        }
        Ok(())
    }

    /// Returns the number of frames of the largest zone.
    pub(crate) fn largest_zone(&self) -> usize {
        let blocks = self
            .zones
            .iter()
            .map(|zone| BlockId::each(zone.blocks()).count());
        blocks.max().unwrap_or_default() * self.blocks.frames
    }

    pub(crate) fn block_of(&self, frame: FrameId) -> BlockId {
        self.blocks.block_of(frame)
    }
}

impl From<BlockId> for Passage {
    fn from(first: BlockId) -> Self {
        Self {
            first,
            used: 0,
            bare: 0,
        }
    }
}

impl Zone {
    /// Returns a look at an opened block; `None` if it is not, or the zone is offline.
    pub(crate) fn look(
        &self,
        host: &dyn Host,
        blocks: &Blocks,
        block: BlockId,
    ) -> Option<BlockLook> {
        let state = self.lock(host);
        (state.is_online() && self.opened(&state).contains(&block)).then(|| BlockLook {
            free: blocks.free(block),
            committed: blocks.committed(block),
            flags: blocks.flags(block),
        })
    }

    /// Returns the blocks that were never opened; `None` if there are none, or the zone is offline.
    pub(crate) fn unopened(&self, host: &dyn Host) -> Option<Range<BlockId>> {
        let state = self.lock(host);
        let unopened = state.next_virgin()..self.blocks().end;
        (state.is_online() && !unopened.is_empty()).then_some(unopened)
    }
}
