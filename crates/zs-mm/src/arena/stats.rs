//! What is held, and `validate()`.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::frame::descriptor::{Descriptor, FrameType};
use crate::size::{FrameId, wide};
use crate::zone::Zone;
use crate::zone::block::{BlockId, FLAG_ADVISING, FLAG_HUGE, FLAG_RESERVED, LISTS, NO_BLOCK};
use crate::zone::state::ZoneState;
use core::fmt;
use zs_sync::Ordering;

/// The contents of an arena, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaStats {
    /// The hard limit.
    pub limit: u64,
    /// Everything counted against the limit: committed frames and metadata. Never above `limit`.
    pub held: u64,
    /// The most that `held` has been; what a change of the limit takes may count in both.
    pub peak: u64,
    /// Frames that somebody has allocated.
    pub in_use: u64,
    /// Frames without memory in balloons: counted against the limit, and not in `held`.
    pub ballooned: u64,
    /// Frames that are out of use for good, without memory: see
    /// [`offline_frame`](Arena::offline_frame).
    pub offline: u64,
    /// Frames that are free but committed, in caches, zones and on their way: what trim would give
    /// back.
    pub cached: u64,
    /// The arena's own metadata: descriptors, pageblock records, and its structure.
    pub metadata: u64,
}

/// The first fault that [`Arena::validate`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidState {
    /// The rule that is broken.
    pub what: &'static str,
    /// The pageblock, frame or byte count it was found at.
    pub at: u64,
    /// The recorded value.
    pub recorded: u64,
    /// The counted value.
    pub found: u64,
}

impl fmt::Display for InvalidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            at,
            recorded,
            found,
        } = self;
        write!(f, "{what} at {at}: recorded {recorded}, found {found}")
    }
}

impl core::error::Error for InvalidState {}

/// Compares a recorded value with the one found.
fn expect(what: &'static str, at: u64, recorded: u64, found: u64) -> Result<(), InvalidState> {
    if recorded == found {
        return Ok(());
    }
    Err(InvalidState {
        what,
        at,
        recorded,
        found,
    })
}

impl<B: Backing> Arena<B> {
    /// Returns what the arena holds. Takes no lock. Frames are of one moment, and so is `held`; the
    /// two are of slightly different moments when others are at work.
    pub fn stats(&self) -> ArenaStats {
        // Relaxed: see `usage`.
        let usage = self.usage.load(Ordering::Relaxed);
        let (committed, in_use) = (usage >> 32, usage & u64::from(u32::MAX));
        let page = wide(self.options.page_size.bytes());
        let (limit, charged) = self.budget.limit_and_held();
        let ballooned = self.ballooned.load(Ordering::Relaxed) * page;
        ArenaStats {
            limit,
            held: charged.saturating_sub(ballooned),
            ballooned,
            peak: self.budget.peak(),
            in_use: in_use * page,
            offline: self.offline_bytes(),
            cached: (committed - in_use) * page,
            metadata: self.descriptors.committed_bytes()
                + self.blocks.table().committed_bytes()
                + wide(size_of::<Self>()),
        }
    }

    /// Recounts everything from the bitmaps and descriptors up, and names the first thing that is
    /// wrong. `foreign` is the metadata, in bytes, that pools hold in this arena.
    ///
    /// For tests and diagnosis: call it while no other thread uses the arena, else a change under
    /// way may be taken for an error. Drains the frame caches. Walks every opened pageblock.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn validate(&self, foreign: u64) -> Result<(), InvalidState> {
        self.drain_caches();
        let mut committed = 0;
        for zone in &self.zones {
            let state = zone.lock(self.host);
            committed += self.validate_zone(zone, &state)?;
        }
        let frames = committed * wide(self.options.page_size.bytes());
        let metadata = self.stats().metadata + foreign;
        expect("bytes held", 0, self.stats().held, frames + metadata)?;
        let stats = self.stats();
        expect("frame bytes", 0, stats.in_use + stats.cached, frames)?;
        let in_use = self.frames_in_use() * wide(self.options.page_size.bytes());
        expect("bytes in use", 0, stats.in_use + stats.ballooned, in_use)?;
        // Relaxed: nobody else is at work.
        let offline = self.offline.load(Ordering::Relaxed);
        let found = self.count_frames(|frame| frame == FrameType::Offline);
        expect("frames offline", 0, offline, found)?;
        let off = self.caches_off.load(Ordering::Relaxed);
        expect("caches switched off", 0, off.into(), 0)
    }

    /// Checks one zone; returns its committed frames.
    fn validate_zone(&self, zone: &Zone, state: &ZoneState) -> Result<u64, InvalidState> {
        let mut listed = [0; LISTS];
        let (mut committed, mut ready) = (0, 0);
        for block in BlockId::each(zone.opened(state)) {
            self.validate_block(block)?;
            committed += wide(self.blocks.committed(block).count());
            ready += self.blocks.available(block);
            if let Some(list) = self.blocks.list_of(block) {
                listed[list] += 1;
            }
        }
        expect("zone's ready frames", 0, wide(state.ready()), wide(ready))?;
        let low_beyond = state.low() > state.ready();
        expect("zone's low-water mark beyond", 0, 0, low_beyond.into())?;
        for (list, &count) in listed.iter().enumerate() {
            let mut found = 0;
            let (mut previous, mut block) = (NO_BLOCK, state.head(list));
            while block != NO_BLOCK && found <= count {
                let (back, next) = self.blocks.links(block);
                expect(
                    "link back",
                    block.number(),
                    back.number(),
                    previous.number(),
                )?;
                let right = self.blocks.list_of(block) == Some(list);
                expect(
                    "block's list",
                    block.number(),
                    wide(list),
                    if right { wide(list) } else { u64::MAX },
                )?;
                (previous, block) = (block, next);
                found += 1;
            }
            expect("blocks in list", wide(list), count, found)?;
        }
        Ok(committed)
    }

    fn validate_block(&self, block: BlockId) -> Result<(), InvalidState> {
        let (free, committed) = (self.blocks.free(block), self.blocks.committed(block));
        let group = self.frames_per_granule();
        for frame in 0..self.blocks.frames {
            let id = self.blocks.frame(block, frame).index();
            let word = self.descriptors.at(id).load(Ordering::Relaxed);
            let is_free = Descriptor(word).frame_type() == FrameType::Free;
            let at = wide(id);
            expect(
                "free bit against type",
                at,
                free.contains(frame).into(),
                is_free.into(),
            )?;
            let has_memory = committed.contains(frame);
            let right = match Descriptor(word).frame_type() {
                FrameType::Zspage | FrameType::Block => has_memory,
                FrameType::Free | FrameType::Balloon => true,
                FrameType::Offline => !has_memory,
            };
            expect("memory against type", at, right.into(), 1)?;
            let first_of_group = frame - frame % group;
            expect(
                "granule partly committed",
                at,
                committed.contains(first_of_group).into(),
                committed.contains(frame).into(),
            )?;
        }
        let counts = self.blocks.counts(block);
        let at = block.number();
        expect("free frames", at, wide(counts.free), wide(free.count()))?;
        let ready = wide(free.and(committed).count());
        expect("ready frames", at, wide(counts.ready), ready)?;
        let flags = self.blocks.flags(block);
        expect("advice under way", at, flags & FLAG_ADVISING, 0)?;
        expect("block reserved", at, flags & FLAG_RESERVED, 0)?;
        let huge_with_holes = flags & FLAG_HUGE != 0 && committed.count() < self.blocks.frames;
        expect("advised huge with holes", at, 0, huge_with_holes.into())
    }

    /// Returns the number of frames that are in use or in balloons, by recounting the descriptors
    /// of opened blocks; for tests, with no other thread at work.
    pub fn frames_in_use(&self) -> u64 {
        self.count_frames(|frame| !matches!(frame, FrameType::Free | FrameType::Offline))
    }

    /// Returns the number of frames of some types, by their descriptors.
    fn count_frames(&self, counts: impl Fn(FrameType) -> bool) -> u64 {
        let opened = self
            .zones
            .iter()
            .map(|zone| zone.opened(&zone.lock(self.host)));
        let frames = opened.flat_map(|blocks| {
            blocks.start.index() * self.blocks.frames..blocks.end.index() * self.blocks.frames
        });
        let in_use = |&frame: &usize| {
            self.frame_descriptor(FrameId(frame as u32))
                .is_some_and(|descriptor| counts(descriptor.frame_type()))
        };
        wide(frames.filter(in_use).count())
    }
}
