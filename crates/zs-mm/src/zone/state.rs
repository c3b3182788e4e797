//! What a zone's lock guards, beside the records of its blocks. This file alone writes it.

use crate::frame::mask::FrameMask;
use crate::zone::block::{BlockId, Blocks, EMPTY_LIST, LISTS, NO_BLOCK, READY_LISTS};
use crate::zone::compaction::{Deferral, Scan};

/// The life of a zone: it hands frames out, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ZoneLife {
    /// It does.
    Online,
    /// Not while somebody empties it.
    Leaving,
    /// It is empty, and without memory.
    Offline,
}

/// The state that a zone's lock guards, beside the records of its blocks.
#[derive(Debug)]
pub(crate) struct ZoneState {
    heads: [BlockId; LISTS],
    /// The lowest block that was never opened: its record and descriptors may be uncommitted.
    next_virgin: BlockId,
    life: ZoneLife,
    /// Free committed frames that anybody may take.
    ready: usize,
    /// The least that `ready` has been since the last tick: what nobody needed meanwhile.
    low: usize,
    /// Frames that nobody needed in the last whole interval, and that were not given back yet.
    due: usize,
    last_tick_ns: u64,
    /// Somebody compacts the zone.
    compacting: bool,
    /// The places of its scanners between two calls; `None` if the last pass is over.
    scan: Option<Scan>,
    deferral: Deferral,
}

impl ZoneState {
    /// Makes the state of a zone without opened blocks, whose first block is `first`.
    pub(crate) fn new(first: BlockId, now_ns: u64) -> Self {
        Self {
            heads: [NO_BLOCK; LISTS],
            next_virgin: first,
            life: ZoneLife::Online,
            ready: 0,
            low: 0,
            due: 0,
            last_tick_ns: now_ns,
            compacting: false,
            scan: None,
            deferral: Deferral::default(),
        }
    }

    /// Says whether the zone hands frames out.
    pub(crate) fn is_online(&self) -> bool {
        self.life == ZoneLife::Online
    }

    /// Changes the zone's life; the error is what it is, if that is not `from`.
    pub(crate) fn change_life(&mut self, from: ZoneLife, to: ZoneLife) -> Result<(), ZoneLife> {
        if self.life != from {
            return Err(self.life);
        }
        self.life = to;
        Ok(())
    }

    /// Returns the lowest block that was never opened.
    pub(crate) fn next_virgin(&self) -> BlockId {
        self.next_virgin
    }

    /// Opens `block` if it is still the next one: all its frames are free, and without memory.
    pub(crate) fn open(&mut self, blocks: &Blocks, block: BlockId) {
        if self.next_virgin == block {
            self.next_virgin = block.above();
            self.change(blocks, block, |_, _| {
                (FrameMask::range(0, blocks.frames), FrameMask::default())
            });
        }
    }

    /// Returns the number of free committed frames.
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    /// Returns the least that [`ready`](Self::ready) has been since the last tick.
    pub(crate) fn low(&self) -> usize {
        self.low
    }

    /// Says whether an interval has passed since the last tick.
    pub(crate) fn is_tick_due(&self, now_ns: u64, interval_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_tick_ns) >= interval_ns
    }

    /// Begins a new interval if one has passed: the frames not needed in the last are then due.
    pub(crate) fn tick(&mut self, now_ns: u64, interval_ns: u64) {
        if self.is_tick_due(now_ns, interval_ns) {
            self.last_tick_ns = now_ns;
            self.due = core::mem::replace(&mut self.low, self.ready);
        }
    }

    /// Takes up to `most` of the frames that are due to be given back off the account; frames
    /// needed since are not due any more.
    pub(crate) fn take_due(&mut self, most: usize) -> usize {
        self.due = self.due.min(self.low);
        let due = self.due.min(most);
        self.due -= due;
        due
    }

    /// Begins a call that compacts the zone: takes the place of its scanners, or `anew`. `None` if
    /// another call compacts it.
    pub(crate) fn begin_pass(&mut self, anew: Scan) -> Option<Scan> {
        if core::mem::replace(&mut self.compacting, true) {
            return None;
        }
        Some(self.scan.take().unwrap_or(anew))
    }

    /// Ends a call that compacts the zone; the next one goes on at `scan`, or begins anew.
    pub(crate) fn end_pass(&mut self, scan: Option<Scan>) {
        self.compacting = false;
        self.scan = scan;
    }

    /// Returns how often proactive compaction is put off.
    pub(crate) fn deferral(&mut self) -> &mut Deferral {
        &mut self.deferral
    }

    /// Says whether the last proactive pass freed nothing.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.deferral.is_in_vain()
    }

    /// Returns the first block of the fullest list with free committed frames.
    pub(crate) fn fullest_ready(&self) -> Option<BlockId> {
        first_of(&self.heads[READY_LISTS])
    }

    /// Returns the first block of a list whose free frames have no memory.
    pub(crate) fn first_bare(&self) -> Option<BlockId> {
        first_of(&self.heads[READY_LISTS.end..LISTS])
    }

    /// Returns the first block of a list, or [`NO_BLOCK`].
    pub(crate) fn head(&self, list: usize) -> BlockId {
        self.heads[list]
    }

    /// Changes a block: new bitmaps, the counts and the list that follow from them, the counter.
    pub(crate) fn change(
        &mut self,
        blocks: &Blocks,
        block: BlockId,
        bitmaps: impl FnOnce(FrameMask, FrameMask) -> (FrameMask, FrameMask),
    ) {
        self.change_counts(blocks, block, || {
            let (free, committed) = bitmaps(blocks.free(block), blocks.committed(block));
            blocks.set_bitmaps(block, free, committed);
        });
    }

    /// Makes a change to a block's bitmaps, counts and flags; the list and the counter follow.
    pub(crate) fn change_counts(&mut self, blocks: &Blocks, block: BlockId, change: impl FnOnce()) {
        let list_before = blocks.list_of(block);
        let ready_before = blocks.available(block);
        change();
        self.ready = self.ready + blocks.available(block) - ready_before;
        self.low = self.low.min(self.ready);
        let list = blocks.list_of(block);
        if list != list_before {
            if let Some(list) = list_before {
                self.unlink(blocks, block, list);
            }
            if let Some(list) = list {
                self.link(blocks, block, list);
            }
        }
    }

    fn link(&mut self, blocks: &Blocks, block: BlockId, list: usize) {
        let next = self.heads[list];
        blocks.set_links(block, NO_BLOCK, next);
        if next != NO_BLOCK {
            blocks.set_links(next, block, blocks.links(next).1);
        }
        self.heads[list] = block;
    }

    fn unlink(&mut self, blocks: &Blocks, block: BlockId, list: usize) {
        let (previous, next) = blocks.links(block);
        if previous == NO_BLOCK {
            self.heads[list] = next;
        } else {
            blocks.set_links(previous, blocks.links(previous).0, next);
        }
        if next != NO_BLOCK {
            blocks.set_links(next, previous, blocks.links(next).1);
        }
    }
}

fn first_of(heads: &[BlockId]) -> Option<BlockId> {
    heads.iter().copied().find(|&head| head != NO_BLOCK)
}

const _: () = assert!(EMPTY_LIST + 1 == LISTS);
