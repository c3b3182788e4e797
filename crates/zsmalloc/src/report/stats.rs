//! What is held.

use crate::class::FULLNESS_GROUPS;
use crate::client::Client;
use crate::geometry::SizeClass;
use crate::ids::ClassIndex;
use crate::pool::Pool;
use zs_mm::{ArenaRef, wide};

/// The contents of a pool, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Live objects, those included that are being inserted or freed; one that is being replaced
    /// counts twice.
    pub objects: u64,
    /// Bytes of those objects.
    pub payload_bytes: u64,
    /// Slots in attached frames: never fewer than `objects`.
    pub slots: u64,
    /// Zspages.
    pub zspages: u64,
    /// Attached frames.
    pub frames: u64,
    /// Bytes of those frames.
    pub frame_bytes: u64,
    /// Metadata.
    pub metadata: PoolMetadata,
}

/// Committed bytes of a pool's metadata, all counted in the arena's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolMetadata {
    /// Words, and what a handle table keeps beside them. 8 bytes an object, rounded up to pages.
    pub words: u64,
    /// Zspage records, back references (4 bytes a slot) among them, and the list of frames that
    /// drain.
    pub records: u64,
    /// The pool's own structure: classes, lists, counters.
    pub structure: u64,
}

impl PoolMetadata {
    /// Returns the sum.
    pub fn total(&self) -> u64 {
        self.words + self.records + self.structure
    }
}

/// The contents of one size class, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassStats {
    /// Its geometry.
    pub class: SizeClass,
    /// Zspages by the share in use of the slots in attached frames: 0 %, below 10 %, ... below 100
    /// %, 100 %.
    pub groups: [u32; FULLNESS_GROUPS],
    /// Zspages.
    pub zspages: u32,
    /// Attached frames.
    pub frames: u32,
    /// Objects.
    pub objects: u64,
    /// Bytes of those objects.
    pub payload_bytes: u64,
    /// Slots in attached frames: never fewer than `objects`.
    pub slots: u64,
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Returns what one class holds, of one moment. Takes its lock.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn class_stats(&self, class: ClassIndex) -> ClassStats {
        let locked = self.lock_class(class);
        ClassStats {
            class: self.geometry.class(class),
            groups: locked.groups(),
            zspages: locked.zspages(),
            frames: locked.frames(),
            objects: locked.objects(),
            payload_bytes: locked.payload(),
            slots: locked.usable(),
        }
    }

    /// Returns what the pool holds. Each class is of one moment; together they are of slightly
    /// different ones while others are at work. Takes each class lock once.
    pub fn stats(&self) -> PoolStats {
        let mut stats = PoolStats {
            metadata: self.metadata(),
            ..PoolStats::default()
        };
        for class in ClassIndex::all().map(|class| self.class_stats(class)) {
            stats.objects += class.objects;
            stats.payload_bytes += class.payload_bytes;
            stats.slots += class.slots;
            stats.zspages += u64::from(class.zspages);
            stats.frames += u64::from(class.frames);
        }
        stats.frame_bytes = stats.frames * wide(self.geometry.page_size().bytes());
        stats
    }

    /// Returns the committed bytes of the pool's metadata.
    pub fn metadata(&self) -> PoolMetadata {
        PoolMetadata {
            words: self.client.metadata_bytes(),
            records: self.records.units.committed_bytes() + self.drains.committed_bytes(),
            structure: Self::STRUCTURE,
        }
    }
}
