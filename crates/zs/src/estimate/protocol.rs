//! What parent and child say to each other: a line of JSON each.

use crate::estimate::models::Model;
use crate::pool::Pool;
use crate::units::Share;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use zs_mm::PageSize;
use zsmalloc::{ClassStats, FULLNESS_GROUPS};

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// So many steps are done: each page is one on its way in and one on its way out, and one more
    /// after a share was freed.
    Progress(u64),
    /// The end: this was measured.
    Measured(Box<Measured>),
    /// The end: this went wrong.
    Failed(String),
}

impl Message {
    /// Writes the message as one line.
    pub(super) fn send(&self, mut out: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")?;
        out.flush()
    }
}

/// What was measured of one codec.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Pages that were stored, or found to be same-filled: all, unless the limit was reached.
    pub(super) pages: u64,
    /// Of these, pages of one repeated word, zero included; not stored.
    pub(super) same_filled: u64,
    /// Of these, pages of zeros.
    pub(super) zero: u64,
    /// Pages that were stored.
    pub(super) stored: u64,
    /// Of these, pages that are stored as they are, since their compressed form is no shorter.
    pub(super) raw: u64,
    /// Bytes of the stored pages' compressed forms.
    pub(super) payload_bytes: u64,
    /// Every committed frame and byte of metadata.
    pub(super) held_bytes: u64,
    /// Of these, what the objects' slots, words and parts of a whole zspage's record take: it
    /// grows with them, while the rest is there once.
    pub(super) per_object_bytes: u64,
    /// By how much resident memory grew.
    pub(super) rss_bytes: u64,
    /// Mean time to store a page, in nanoseconds.
    pub(super) store_ns: Option<f64>,
    /// Mean time to load a page.
    pub(super) load_ns: Option<f64>,
    /// Objects in the pool.
    pub(super) objects: u64,
    /// Zspages.
    pub(super) zspages: u64,
    /// Slots in attached frames.
    pub(super) slots: u64,
    /// Attached frames.
    pub(super) frames: u64,
    /// Their bytes.
    pub(super) frame_bytes: u64,
    /// The rest of what is held.
    pub(super) metadata_bytes: Metadata,
    /// Whether the limit was reached before all pages were stored.
    pub(super) limit_reached: bool,
    /// The classes that hold objects.
    pub(super) classes: Vec<Class>,
    /// The strata of each process, if the pages are processes'.
    pub(super) parts: Vec<Part>,
    /// What other stores would hold of the same objects, if that was asked for.
    pub(super) models: Option<Vec<Model>>,
    /// The same pool later, if a share was to be freed.
    pub(super) after_free: Option<AfterFree>,
}

impl Measured {
    /// Counts pages of zeros that were not looked at, since they are holes of a file.
    pub(super) fn count_holes(&mut self, holes: u64) {
        self.pages += holes;
        self.same_filled += holes;
        self.zero += holes;
    }
}

/// What was measured of pages that count alike, of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Pages that were stored or same-filled: all that were sampled, unless the limit was reached.
    pub(super) pages: u64,
    /// Of these, pages of one repeated word, zero included.
    pub(super) same_filled: u64,
    /// Of these, pages of zeros.
    pub(super) zero: u64,
    /// Bytes of the stored pages' compressed forms.
    pub(super) payload_bytes: u64,
    /// The sum of their squares.
    pub(super) payload_squares: f64,
}

/// What was measured after a random share of the objects was freed, and the pool compacted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AfterFree {
    /// The share that was asked for.
    pub(super) share_percent: Share,
    /// What chose the objects.
    pub(super) seed: u64,
    /// Objects that were freed.
    pub(super) objects_freed: u64,
    /// Objects that are left.
    pub(super) objects: u64,
    /// Bytes of the objects that are left.
    pub(super) payload_bytes: u64,
    /// What was held when they were freed and the pool trimmed, before it was compacted.
    pub(super) held_before_compact_bytes: u64,
    /// What is held a second after the compaction.
    pub(super) held_bytes: u64,
    /// Resident growth since before the arena was made, at the same time.
    pub(super) rss_bytes: u64,
    /// Time of the compaction and the trim after it, in milliseconds.
    pub(super) compact_ms: f64,
    /// Objects that were moved.
    pub(super) objects_moved: u64,
    /// Their bytes.
    pub(super) bytes_moved: u64,
    /// Frames that the compaction emptied.
    pub(super) frames_freed: u64,
    /// Frames that it took to move objects to.
    pub(super) frames_attached: u64,
    /// Attached frames.
    pub(super) frames: u64,
    /// Their bytes.
    pub(super) frame_bytes: u64,
    /// The rest of what is held.
    pub(super) metadata_bytes: Metadata,
}

/// Bytes of metadata by kind.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Metadata {
    /// The handle table.
    pub(super) words: u64,
    /// Zspage records and back references.
    pub(super) records: u64,
    /// The pool's own structure.
    pub(super) structure: u64,
    /// The arena's structure, frame descriptors and pageblock records.
    pub(super) arena: u64,
}

impl Metadata {
    /// Returns what the pool and its arena say.
    pub(super) fn of(pool: &Pool) -> Self {
        let metadata = pool.metadata();
        Self {
            words: metadata.words,
            records: metadata.records,
            structure: metadata.structure,
            arena: pool.arena().stats().metadata,
        }
    }
}

/// One size class.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Class {
    /// Bytes of a slot.
    pub(super) size: u32,
    /// Frames of a zspage when all are attached.
    pub(super) chain: u8,
    /// Slots of a zspage.
    pub(super) slots: u8,
    /// Bytes that no slot covers at a zspage's end.
    pub(super) tail: usize,
    /// Objects.
    pub(super) objects: u64,
    /// Bytes of the objects.
    pub(super) payload_bytes: u64,
    /// Slots in attached frames.
    pub(super) usable_slots: u64,
    /// Zspages.
    pub(super) zspages: u32,
    /// Attached frames.
    pub(super) frames: u32,
    /// Zspages by fullness: 0 %, below 10 %, ... below 100 %, 100 %.
    pub(super) groups: [u32; FULLNESS_GROUPS],
}

impl Class {
    /// Returns what the pool says of a class.
    pub(super) fn new(stats: &ClassStats, page: PageSize) -> Self {
        Self {
            size: stats.class.size,
            chain: stats.class.chain,
            slots: stats.class.slots,
            tail: stats.class.tail(page),
            objects: stats.objects,
            payload_bytes: stats.payload_bytes,
            usable_slots: stats.slots,
            zspages: stats.zspages,
            frames: stats.frames,
            groups: stats.groups,
        }
    }
}
