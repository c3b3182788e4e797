//! Frames from zone to zone: cold ones to a slower zone, hot ones to a faster one, whole
//! pageblocks.

use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::arena::move_counters::count;
use crate::backing::Backing;
use crate::error::Error;
use crate::frame::descriptor::FrameOwner;
use crate::frame_status::MigrateReason;
use crate::movable::{
    Destination, InZone, MigrateEnd, MigrateMode, MigrateOptions, MigrateReport, Movable, PIECE,
};
use crate::policy::contiguous::Contiguous;
use crate::size::{FrameId, ZoneId};
use core::fmt;

/// Frames that are looked at between two moves.
const LOOK_AT: usize = PIECE;

/// The most frames of a pageblock.
const MOST: usize = 512;

/// What a zone's frames are to be moved for: which, and how many.
struct Wanted<'a> {
    from: ZoneId,
    to: ZoneId,
    most: u64,
    reason: MigrateReason,
    is_wanted: &'a mut dyn FnMut(FrameId, FrameOwner) -> bool,
}

/// The frames of a free pageblock: each takes in the frame at the same place of another block.
struct BlockAt {
    frames: [Option<Frame>; MOST],
    in_block: usize,
}

impl BlockAt {
    fn place(&mut self, frame: FrameId) -> &mut Option<Frame> {
        &mut self.frames[frame.index() % self.in_block]
    }
}

impl fmt::Debug for BlockAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockAt").finish_non_exhaustive()
    }
}

impl Destination for BlockAt {
    fn frame_for(&mut self, source: FrameId) -> Option<Frame> {
        self.place(source).take()
    }

    fn unused(&mut self, frame: Frame) {
        let id = frame.id();
        *self.place(id) = Some(frame);
    }
}

impl<B: Backing> Arena<B> {
    /// Moves frames from a fast zone to a slower one: of those that belong to `owners`, at most
    /// `most` that `is_cold` says are. It is asked once for each frame, with no lock held; what
    /// it goes by is the caller's. Never waits.
    ///
    /// # Errors
    /// [`Error::NoSuchZone`] for either zone, [`Error::ZoneOffline`], [`Error::Forked`].
    pub fn demote(
        &self,
        from: ZoneId,
        to: ZoneId,
        owners: &[&dyn Movable],
        most: u64,
        mut is_cold: impl FnMut(FrameId, FrameOwner) -> bool,
    ) -> Result<MigrateReport, Error> {
        let wanted = Wanted {
            from,
            to,
            most,
            reason: MigrateReason::Demotion,
            is_wanted: &mut is_cold,
        };
        self.move_wanted(wanted, owners)
    }

    /// Moves frames from a slow zone to a faster one: as [`demote`](Self::demote), of those that
    /// `is_hot` says are.
    ///
    /// # Errors
    /// As for `demote`.
    pub fn promote(
        &self,
        from: ZoneId,
        to: ZoneId,
        owners: &[&dyn Movable],
        most: u64,
        mut is_hot: impl FnMut(FrameId, FrameOwner) -> bool,
    ) -> Result<MigrateReport, Error> {
        let wanted = Wanted {
            from,
            to,
            most,
            reason: MigrateReason::Promotion,
            is_wanted: &mut is_hot,
        };
        self.move_wanted(wanted, owners)
    }

    fn move_wanted(
        &self,
        wanted: Wanted<'_>,
        owners: &[&dyn Movable],
    ) -> Result<MigrateReport, Error> {
        if !self.is_online(wanted.to)? {
            return Err(Error::ZoneOffline(wanted.to));
        }
        let zone = self.zone(wanted.from)?;
        let opened = zone.opened(&zone.lock(self.host));
        let (mut next, end) = (
            self.blocks.frame(opened.start, 0).0,
            self.blocks.frame(opened.end, 0).0,
        );
        let options = MigrateOptions::new(MigrateMode::Async).because(wanted.reason);
        let mut report = MigrateReport::default();
        while next < end && report.end == MigrateEnd::Done {
            let left = wanted.most - report.moved.min(wanted.most);
            if left == 0 {
                break;
            }
            let (mut list, mut count) = ([FrameId(0); LOOK_AT], 0);
            let room = LOOK_AT.min(usize::try_from(left).unwrap_or(LOOK_AT));
            while count < room && next < end {
                let frame = FrameId(next);
                next += 1;
                let found = self.movable_owner(frame, owners);
                if found.is_ok_and(|(_, owner)| (wanted.is_wanted)(frame, owner)) {
                    list[count] = frame;
                    count += 1;
                }
            }
            let to = &mut InZone(self, wanted.to);
            report.add(&self.migrate_pages(&list[..count], owners, to, options, &mut []));
        }
        Ok(report)
    }

    /// Moves all that is in use of a pageblock, each frame to the same place of a free block of
    /// zone `to`: so that what lay in one huge page lies in one again. Without a free block
    /// there, to any frames of the zone ([`ZoneMoves::blocks_split`](crate::ZoneMoves) counts
    /// that). `block` is any frame of it.
    ///
    /// # Errors
    /// [`Error::InvalidRange`] if there is no such block, [`Error::NoSuchZone`],
    /// [`Error::ZoneOffline`], [`Error::Forked`].
    pub fn migrate_block(
        &self,
        block: FrameId,
        to: ZoneId,
        owners: &[&dyn Movable],
        mode: MigrateMode,
    ) -> Result<MigrateReport, Error> {
        let in_block = self.blocks.frames as u32;
        let first = FrameId(block.0 - block.0 % in_block);
        let invalid = Error::InvalidRange {
            first,
            frames: in_block,
        };
        self.zone_of_frame(first).ok_or(invalid)?;
        if !self.is_online(to)? {
            return Err(Error::ZoneOffline(to));
        }
        let (mut list, mut len) = ([FrameId(0); MOST], 0);
        for frame in (first.0..first.0 + in_block).map(FrameId) {
            let owner = self.frame_descriptor(frame).and_then(|found| found.owner());
            if owner.is_some() {
                list[len] = frame;
                len += 1;
            }
        }
        if len == 0 {
            return Ok(MigrateReport::default());
        }
        let options = MigrateOptions::new(mode);
        let counters = self.counters_of(first);
        let Some(mut whole) = self.take_free_block(first, to) else {
            count(&counters.blocks_split, 1);
            let to = &mut InZone(self, to);
            return Ok(self.migrate_pages(&list[..len], owners, to, options, &mut []));
        };
        let report = self.migrate_pages(&list[..len], owners, &mut whole, options, &mut []);
        count(&counters.blocks_moved, i64::from(report.not_moved == 0));
        for frame in whole.frames.iter_mut().filter_map(Option::take) {
            self.free_frame(frame);
        }
        Ok(report)
    }

    /// Takes a pageblock of a zone that is free as a whole, other than that of `source`.
    fn take_free_block(&self, source: FrameId, zone: ZoneId) -> Option<BlockAt> {
        let is_free = |block: &crate::BlockState| {
            block.zone == zone && block.free == block.frames && block.first != source
        };
        let free = self.blocks().find(is_free);
        let taken = match free {
            Some(block) => self.alloc_range(block.first, block.frames, &[]),
            None => self.alloc_unopened_block(zone),
        };
        let mut whole = BlockAt {
            frames: [const { None }; MOST],
            in_block: self.blocks.frames,
        };
        for (place, frame) in whole.frames.iter_mut().zip(self.split(taken.ok()?)) {
            *place = Some(frame);
        }
        Some(whole)
    }

    /// Takes the next pageblock of a zone that was never used.
    fn alloc_unopened_block(&self, zone: ZoneId) -> Result<Contiguous, Error> {
        let unopened = self
            .zone(zone)?
            .unopened(self.host)
            .ok_or(Error::NoMemory)?;
        let in_block = self.blocks.frames as u32;
        let first = self.blocks.frame(unopened.start, 0);
        self.alloc_range(first, in_block, &[])
    }
}

const _: () = assert!(MOST >= crate::PageSize::K4.frames_per_block());
