//! What became of an arena: all that is drawn and written.

use crate::failure::Failure;
use crate::units::Share;
use serde::Serialize;
use zs_mm::PageSize;

/// A pageblock at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockState {
    /// Every frame is in use.
    Full,
    /// So many frames are in use: not none, and not all.
    Mixed(u16),
    /// No frame is.
    Free,
    /// Taken out of the arena.
    Offline,
}

impl BlockState {
    /// Makes a block of which so many of `frames` frames are in use.
    pub(crate) fn of(in_use: u16, frames: u16) -> Self {
        match in_use {
            0 => Self::Free,
            _ if in_use >= frames => Self::Full,
            _ => Self::Mixed(in_use),
        }
    }
}

/// An arena at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Every pageblock that was ever opened, the lowest first.
    pub(crate) blocks: Vec<BlockState>,
    /// Bytes of live objects.
    pub(crate) payload_bytes: u64,
    /// What the arena's memory takes, as the system counts it.
    pub(crate) rss_bytes: u64,
}

impl Snapshot {
    pub(super) fn free_blocks(&self) -> u64 {
        let is_free = |block: &&BlockState| **block == BlockState::Free;
        self.blocks.iter().filter(is_free).count() as u64
    }

    /// Resident bytes for each byte of payload.
    pub(super) fn overhead(&self) -> Option<f64> {
        let payload = self.payload_bytes as f64;
        (self.payload_bytes > 0).then_some(self.rss_bytes as f64 / payload)
    }
}

/// One reading while the arena was at work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since the start.
    pub(crate) seconds: f64,
    pub(crate) payload_bytes: u64,
    pub(crate) rss_bytes: u64,
}

/// What is drawn of a moment.
pub(super) type Bytes = fn(&Moment) -> u64;

/// Where something began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    /// Since the start.
    pub(crate) seconds: f64,
    /// A word: what began.
    pub(crate) what: &'static str,
}

/// Times of one reader's reads, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadTimes {
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

/// Times of the readers with nothing else going on, and beside the mover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readers {
    pub(crate) idle: ReadTimes,
    pub(crate) busy: ReadTimes,
}

/// Everything that `zs frag` found out.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) page: PageSize,
    /// Pages of the sources, and objects that were stored of them before anything was freed.
    pub(crate) pages: u64,
    /// What was freed, at random, at the end of every round.
    pub(crate) free: Share,
    pub(crate) rounds: u32,
    pub(crate) before: Snapshot,
    pub(crate) after: Snapshot,
    /// In the order of time.
    pub(crate) history: Vec<Moment>,
    pub(crate) marks: Vec<Mark>,
    /// Pageblocks that the frames in use leave room for.
    pub(crate) blocks_possible: u64,
    pub(crate) frames_moved: u64,
    pub(crate) objects_moved: u64,
    /// How long that took.
    pub(crate) seconds: f64,
    /// `None` without a CPU to read on.
    pub(crate) readers: Option<Readers>,
}

/// One object for programs; `README.md` of this crate says what each member means.
#[derive(Serialize)]
struct Object {
    payload_bytes: u64,
    rss_bytes: u64,
    blocks_free: u64,
    blocks_possible: u64,
    frames_moved: u64,
    objects_moved: u64,
    seconds: f64,
    read_p50_idle_ns: Option<u64>,
    read_p50_ns: Option<u64>,
    read_p99_idle_ns: Option<u64>,
    read_p99_ns: Option<u64>,
}

impl Outcome {
    /// Returns the report for programs: one object on one line.
    pub(crate) fn json(&self) -> Result<String, Failure> {
        let (idle, busy) = (
            self.readers.map(|readers| readers.idle),
            self.readers.map(|readers| readers.busy),
        );
        let object = Object {
            payload_bytes: self.after.payload_bytes,
            rss_bytes: self.after.rss_bytes,
            blocks_free: self.after.free_blocks(),
            blocks_possible: self.blocks_possible,
            frames_moved: self.frames_moved,
            objects_moved: self.objects_moved,
            seconds: self.seconds,
            read_p50_idle_ns: idle.map(|times| times.p50_ns),
            read_p50_ns: busy.map(|times| times.p50_ns),
            read_p99_idle_ns: idle.map(|times| times.p99_ns),
            read_p99_ns: busy.map(|times| times.p99_ns),
        };
        match serde_json::to_string(&object) {
            Ok(text) => Ok(text + "\n"),
            Err(error) => Err(Failure::Failed(format!("JSON: {error}"))),
        }
    }
}
