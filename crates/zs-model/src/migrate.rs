//! Operations that move frames: migrate, isolate, put back, drain.
//!
//! A frame that a run holds isolated makes in-place writes to it wait: what would wait for this
//! thread puts back first.

use crate::driver::Driver;
use crate::words::Words;
use zs_mm::{
    Anywhere, Arena, Backing, Descriptor, Destination, FrameId, FrameStatus, FrameType, InZone,
    MigrateEnd, MigrateMode, MigrateOptions, MigrateReport, Movable, ZoneId,
};

/// Frames of one [`Op::Migrate`](crate::Op::Migrate) at most.
const MOST_FRAMES: usize = 8;
/// Frames that are held isolated at most.
const MOST_ISOLATED: usize = 4;

/// Returns the mode that an operation names.
pub(crate) fn mode(number: u8) -> MigrateMode {
    match number % 4 {
        0 => MigrateMode::Async,
        1 => MigrateMode::SyncLight,
        2 => MigrateMode::Sync,
        _ => MigrateMode::SyncNoCopy,
    }
}

/// Returns the frames that an operation names: those in use by number, and beyond the last a free
/// one and none at all.
pub(crate) fn frames_named<B: Backing>(arena: &Arena<B>, frame: u16, frames: u8) -> Vec<FrameId> {
    let all = (0..).map(FrameId);
    let descriptors = all.map_while(|id| Some((id, arena.frame_descriptor(id)?.frame_type())));
    let (mut named, free): (Vec<_>, Vec<_>) =
        descriptors.partition(|&(_, frame_type)| frame_type != FrameType::Free);
    named.extend(free.last());
    named.push((FrameId(u32::MAX), FrameType::Free));
    let count = 1 + frames as usize % MOST_FRAMES;
    let nth = |n: usize| named[(frame as usize + n) % named.len()].0;
    (0..count).map(nth).collect()
}

/// Moves frames to the zone that an operation names, or anywhere.
pub(crate) fn move_frames<B: Backing>(
    arena: &Arena<B>,
    frames: &[FrameId],
    owners: &[&dyn Movable],
    mode: MigrateMode,
    zone: u8,
) -> (MigrateReport, Vec<FrameStatus>) {
    let zones = arena.options().zones.count() as u32;
    let (mut anywhere, mut zoned) = (
        Anywhere(arena),
        InZone(arena, ZoneId(u32::from(zone) % zones)),
    );
    let to: &mut dyn Destination = if u32::from(zone) < 128 {
        &mut anywhere
    } else {
        &mut zoned
    };
    let mut status = vec![FrameStatus::Pending; frames.len()];
    let report = arena.migrate_pages(frames, owners, to, MigrateOptions::new(mode), &mut status);
    (report, status)
}

/// Returns the frames of an arena that are isolated, and frames that drain.
pub(crate) fn underway<B: Backing>(arena: &Arena<B>) -> (u64, u64) {
    let moves = arena.zones().filter_map(|zone| arena.zone_moves(zone));
    moves.fold((0, 0), |(isolated, draining), zone| {
        (isolated + zone.isolated, draining + zone.draining)
    })
}

impl<B: Backing, W: Words> Driver<'_, '_, B, W> {
    pub(crate) fn migrate(
        &mut self,
        frame: u16,
        frames: u8,
        number: u8,
        zone: u8,
    ) -> Result<(), String> {
        let list = frames_named(self.arena, frame, frames);
        self.drain_all();
        let before: Vec<_> = list
            .iter()
            .map(|&frame| self.arena.frame_descriptor(frame))
            .collect();
        let (_, draining) = underway(self.arena);
        let injected = self.environment.injected();
        let owners: Vec<&dyn Movable> =
            self.pools.iter().map(|pool| pool as &dyn Movable).collect();
        let (report, status) = move_frames(self.arena, &list, &owners, mode(number), zone);
        let failed = |what: &str| format!("migrate {list:?}: {what}: {status:?} {report:?}");
        let lacks = report.end == MigrateEnd::NoMemory;
        let short = self.is_out_of_memory(injected);
        if lacks && zone < 128 && !short {
            return Err(failed("no memory without a reason"));
        }
        if !lacks && report.end != MigrateEnd::Done {
            return Err(failed("its end"));
        }
        for (at, &frame) in list.iter().enumerate() {
            // What is named twice is isolated already, or was.
            let again = list[..at].contains(&frame);
            let right = again
                || self.is_due(
                    frame,
                    before[at],
                    status[at],
                    lacks || short || draining > 0,
                );
            if !right {
                return Err(failed("a status"));
            }
        }
        let (_, drain_now) = underway(self.arena);
        self.report.migrated += report.moved;
        self.report.drained += drain_now - draining;
        self.report.freed_by_movers += report.freed;
        self.report.refused_to_movers += report.not_moved;
        self.look_everywhere()
    }

    /// Says whether a frame's status is one that it can have had; `excused` if there was no memory,
    /// or another frame of its zspage drains.
    fn is_due(
        &self,
        frame: FrameId,
        before: Option<Descriptor>,
        status: FrameStatus,
        excused: bool,
    ) -> bool {
        let Some(before) = before else {
            return status == FrameStatus::NoSuchFrame;
        };
        if before.frame_type() == FrameType::Free {
            return status == FrameStatus::NotInUse;
        }
        if self.tokens.iter().any(|token| token.frame() == frame) {
            return status == FrameStatus::AlreadyIsolated;
        }
        let is_owned = before.owner().is_some();
        match status {
            FrameStatus::Moved(to) => is_owned && self.arena.frame_descriptor(to) == Some(before),
            FrameStatus::Freed => is_owned,
            FrameStatus::Busy => excused || !is_owned,
            FrameStatus::NoMemory | FrameStatus::Pending => excused,
            _ => false,
        }
    }

    pub(crate) fn isolate(&mut self, frame: u16) -> Result<(), String> {
        let (pools, arena) = (self.pools, self.arena);
        let frame = frames_named(arena, frame, 0)[0];
        let before = arena.frame_descriptor(frame);
        let (_, draining) = underway(arena);
        let owners: Vec<&dyn Movable> = pools.iter().map(|pool| pool as &dyn Movable).collect();
        let injected = self.environment.injected();
        if self.tokens.len() == MOST_ISOLATED {
            return Ok(());
        }
        match arena.isolate(frame, &owners, true) {
            Ok(token) => {
                let here = Some(token.owner()) == before.and_then(Descriptor::owner);
                self.tokens.push(token);
                if here {
                    return self.look_everywhere();
                }
                Err(format!("isolate {frame:?}: {before:?} is not its owner"))
            }
            Err(status) => {
                // A row of the list of draining frames may find no memory.
                let short = self.is_out_of_memory(injected);
                if self.is_due(frame, before, status, short || draining > 0) {
                    return Ok(());
                }
                Err(format!("isolate {frame:?} answers {status:?}"))
            }
        }
    }

    pub(crate) fn put_back(&mut self, nth: u16) -> Result<(), String> {
        if let Some(nth) = (nth as usize).checked_rem(self.tokens.len()) {
            drop(self.tokens.swap_remove(nth));
        }
        self.look_everywhere()
    }

    pub(crate) fn drain_all(&self) {
        self.pools.iter().for_each(Movable::drain);
    }

    /// Says whether frames may be missing: the limit is near, or a call was made to fail since.
    fn is_out_of_memory(&self, injected: u64) -> bool {
        let stats = self.arena.stats();
        let unit = self.arena.backing().granule().max(self.model.page.bytes()) as u64;
        stats.held + MOST_FRAMES as u64 * unit > stats.limit
            || self.environment.injected() > injected
    }

    /// Compares every object of every pool, and what is isolated with what is held so.
    fn look_everywhere(&mut self) -> Result<(), String> {
        let (isolated, _) = underway(self.arena);
        if isolated != self.tokens.len() as u64 {
            return Err(format!("{isolated} isolated, not {}", self.tokens.len()));
        }
        (0..self.pools.len()).try_for_each(|pool| self.for_each(pool as u8))
    }
}
