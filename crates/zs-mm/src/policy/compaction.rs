//! What is in use of a zone moves to its lower pageblocks, so that the upper ones become free as a
//! whole.
//!
//! Two scanners: one goes down from the last opened block and empties blocks that are neither full
//! nor free; the other goes up from the first and provides free frames of such blocks. When they
//! meet, the pass is over. The allocator fills low blocks first, and trim gives high ones back
//! first.
//!
//! Data model: `Zone -> Pass (where both scanners are) -> a block's frames, 32 at a time ->
//! CompactReport`.
//!
//! # Locking
//!
//! Each scanner looks at a bounded number of blocks in one hold of the zone's lock; nothing is
//! moved, committed or asked of the caller meanwhile. One pass at a time in a zone: nobody waits
//! for it.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::error::Error;
use crate::frame::mask::FrameMask;
use crate::frame_status::{FrameStatus, MigrateReason};
use crate::movable::{MigrateEnd, MigrateMode, MigrateOptions, Movable, PIECE};
use crate::policy::scanner::FreeScanner;
use crate::size::{FrameId, ZoneId, wide};
use crate::zone::block::{BlockId, Blocks, FLAG_SKIP};
use crate::zone::compaction::Scan;
use crate::zone::{LOOK_AT, Zone};
use core::fmt;
use zs_sync::{Host, assert_may_block};

/// The options of a compaction of a zone. Start from [`CompactOptions::new`].
#[derive(Clone, Copy)]
pub struct CompactOptions<'a> {
    /// How much a move may wait for owners who are busy. An asynchronous pass leaves blocks alone
    /// in which the last pass met something that could not be moved, unless that pass freed
    /// nothing at all.
    pub mode: MigrateMode,
    /// The most frames to move in this call; the next one goes on where it ended. Default: no
    /// bound.
    pub frames: u64,
    /// Asked before every few frames, with no lock held; false ends the call.
    pub go_on: &'a (dyn Fn() -> bool + Sync),
}

impl CompactOptions<'_> {
    /// Makes a mode, and the defaults for the rest.
    pub const fn new(mode: MigrateMode) -> Self {
        Self {
            mode,
            frames: u64::MAX,
            go_on: &|| true,
        }
    }
}

impl fmt::Debug for CompactOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompactOptions")
            .field("mode", &self.mode)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

/// Why a compaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompactEnd {
    /// No zone needed any.
    #[default]
    NotNeeded,
    /// The last passes freed no block: left for some of the next calls.
    Deferred,
    /// The scanners met: the pass is over.
    Met,
    /// Free frames of the lower blocks have no memory, and none was to be had; the next pass begins
    /// anew.
    NoMemory,
    /// As many frames as were allowed were moved.
    Budget,
    /// The caller wished so.
    Stopped,
    /// Moves are paused.
    Paused,
    /// Somebody else is compacting the zone.
    Busy,
}

/// The outcome of one compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactReport {
    /// Frames whose contents were moved.
    pub frames_moved: u64,
    /// Frames that could not be moved.
    pub frames_failed: u64,
    /// Blocks that were emptied, and were free as a whole then.
    pub blocks_freed: u64,
    /// Why it ended.
    pub end: CompactEnd,
}

impl CompactReport {
    /// Says whether the scanners met.
    pub fn met(&self) -> bool {
        self.end == CompactEnd::Met
    }

    /// Adds what another call did; its end is this one's.
    pub fn add(&mut self, other: &Self) {
        self.frames_moved += other.frames_moved;
        self.frames_failed += other.frames_failed;
        self.blocks_freed += other.blocks_freed;
        self.end = other.end;
    }
}

/// A call that compacts a zone; no other one does until this is dropped.
struct Pass<'a> {
    zone: &'a Zone,
    host: &'a dyn Host,
    scan: Scan,
    is_over: bool,
}

/// The outcome of a look for a block to empty.
enum Source {
    Block(BlockId),
    LookBelow,
    Met,
}

impl<B: Backing> Arena<B> {
    /// Moves what is in use of a zone's upper blocks to its lower ones, as far as it belongs to
    /// `owners`, so that blocks become free as a whole: for
    /// [`alloc_contiguous`](Self::alloc_contiguous), or to be given back by trim or
    /// decay. Readers and writers go on. A look at each opened block in a whole pass.
    ///
    /// # Errors
    /// [`Error::NoSuchZone`], [`Error::ZoneOffline`], [`Error::Forked`].
    pub fn compact_zone(
        &self,
        id: ZoneId,
        owners: &[&dyn Movable],
        options: CompactOptions<'_>,
    ) -> Result<CompactReport, Error> {
        assert_may_block();
        let zone = self.zone(id)?;
        if !self.is_online(id)? {
            return Err(Error::ZoneOffline(id));
        }
        let mut report = CompactReport::default();
        let Some(mut pass) = Pass::begin(zone, self.host) else {
            report.end = CompactEnd::Busy;
            return Ok(report);
        };
        let ended = loop {
            if !(options.go_on)() {
                break CompactEnd::Stopped;
            }
            match pass.next_source(&self.blocks, options.mode) {
                Source::Met => break CompactEnd::Met,
                Source::LookBelow => {}
                Source::Block(block) => {
                    if let Err(end) = self.empty(block, &mut pass, owners, options, &mut report) {
                        break end;
                    }
                    pass.scan.migrate = block;
                }
            }
        };
        report.end = ended;
        pass.is_over = matches!(ended, CompactEnd::Met | CompactEnd::NoMemory);
        Ok(report)
    }

    /// Empties one block as far as can be, a few frames at a time.
    fn empty(
        &self,
        block: BlockId,
        pass: &mut Pass<'_>,
        owners: &[&dyn Movable],
        options: CompactOptions<'_>,
        report: &mut CompactReport,
    ) -> Result<(), CompactEnd> {
        if !self.offline_of(block).is_empty() {
            // It will never be free as a whole.
            return Ok(());
        }
        let all = FrameMask::range(0, self.blocks.frames);
        let in_use = all.without(self.free_of(block));
        let used = || in_use.iter().map(|frame| self.frame_of(block, frame));
        let mut failed = self.refused(used(), owners).is_some();
        let failed_before = report.frames_failed;
        let mut to = FreeScanner::new(self, pass.zone, pass.scan.free, block);
        let (mut used, mut ended) = (used().peekable(), Ok(()));
        while !failed && ended.is_ok() && used.peek().is_some() {
            let room = options.frames.saturating_sub(report.frames_moved);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            if room == 0 {
                ended = Err(CompactEnd::Budget);
                break;
            }
            let (mut frames, mut count) = ([FrameId(0); PIECE], 0);
            for (place, frame) in frames.iter_mut().zip(used.by_ref().take(room)) {
                *place = frame;
                count += 1;
            }
            ended = self.compact_piece(&frames[..count], owners, &mut to, options, report);
        }
        pass.scan.free = to.block();
        drop(to);
        failed |= report.frames_failed > failed_before;
        if ended.is_ok() {
            self.drain_caches();
            if all.without(self.free_of(block)).is_empty() {
                report.blocks_freed += 1;
            } else if failed {
                pass.zone.mark_skip(self.host, &self.blocks, block);
            }
        }
        ended
    }

    /// Moves a few frames of a block to where the other scanner is.
    fn compact_piece(
        &self,
        frames: &[FrameId],
        owners: &[&dyn Movable],
        to: &mut FreeScanner<'_, B>,
        options: CompactOptions<'_>,
        report: &mut CompactReport,
    ) -> Result<(), CompactEnd> {
        let mut status = [FrameStatus::Pending; PIECE];
        let moving = MigrateOptions {
            go_on: options.go_on,
            ..MigrateOptions::new(options.mode).because(MigrateReason::Compaction)
        };
        let moved = self.migrate_pages(frames, owners, to, moving, &mut status);
        report.frames_moved += moved.moved;
        if moved.end == MigrateEnd::Done {
            let status = &status[..frames.len()];
            let failed = status.iter().filter(|status| !status.is_gone());
            report.frames_failed += wide(failed.count());
        }
        match moved.end {
            MigrateEnd::Done => Ok(()),
            MigrateEnd::NoMemory if to.lacked_memory() => Err(CompactEnd::NoMemory),
            MigrateEnd::NoMemory => Err(CompactEnd::Met),
            MigrateEnd::Stopped => Err(CompactEnd::Stopped),
            MigrateEnd::Paused => Err(CompactEnd::Paused),
        }
    }
}

impl<'a> Pass<'a> {
    /// Goes on where the last call ended, or begins anew; `None` if somebody else is at it.
    fn begin(zone: &'a Zone, host: &'a dyn Host) -> Option<Self> {
        let mut state = zone.lock(host);
        let opened = zone.opened(&state);
        let scan = state.begin_pass(Scan {
            free: opened.start,
            migrate: opened.end,
        })?;
        drop(state);
        Some(Self {
            zone,
            host,
            scan,
            is_over: false,
        })
    }

    /// Looks down for a block to empty: one with frames free and frames not, above the other
    /// scanner.
    fn next_source(&mut self, blocks: &Blocks, mode: MigrateMode) -> Source {
        let state = self.zone.lock(self.host);
        for _ in 0..LOOK_AT {
            if self.scan.migrate <= self.scan.free.above() {
                return Source::Met;
            }
            let block = self.scan.migrate.below();
            debug_assert!(self.zone.opened(&state).contains(&block), "in its zone");
            let free = blocks.counts(block).free;
            let was_marked = blocks.flags(block) & FLAG_SKIP != 0;
            // A mark lasts for one pass.
            blocks.change_flags(block, 0, FLAG_SKIP);
            let is_left = was_marked && mode == MigrateMode::Async && !state.is_in_vain();
            if !blocks.is_reserved(block) && free > 0 && free < blocks.frames && !is_left {
                return Source::Block(block);
            }
            self.scan.migrate = block;
        }
        Source::LookBelow
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let scan = (!self.is_over).then_some(self.scan);
        self.zone.lock(self.host).end_pass(scan);
    }
}

impl Zone {
    /// Marks a block in which something could not be moved: the next asynchronous pass leaves it
    /// alone.
    fn mark_skip(&self, host: &dyn Host, blocks: &Blocks, block: BlockId) {
        let _state = self.lock(host);
        blocks.change_flags(block, FLAG_SKIP, 0);
    }
}
