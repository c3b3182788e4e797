//! What is known of a class and its zspages, to be looked at.

use crate::geometry::{MAX_SLOTS, SizeClass};
use crate::ids::as_index;
use crate::ids::{ClassIndex, EntryIndex, SlotIndex, ZspageId};
use crate::record::{Record, Records};
use zs_mm::{FrameOwner, PoolKey};

/// A size class, and where its zspages' records are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClassContext<'a> {
    pub(crate) records: &'a Records,
    pub(crate) class: SizeClass,
    pub(crate) index: ClassIndex,
}

impl<'a> ClassContext<'a> {
    #[inline]
    pub(crate) fn record(&self, zspage: ZspageId) -> Record<'a> {
        self.records.record(zspage, self.class)
    }

    /// Returns how a frame of a zspage names its owner.
    #[inline]
    pub(crate) fn owner(&self, key: &PoolKey, zspage: ZspageId, entry: EntryIndex) -> FrameOwner {
        key.owner(self.index.number(), zspage.number(), entry.number())
    }

    /// Returns the frames that a slot touches, first and last.
    #[inline]
    pub(crate) fn frames_of_slot(&self, slot: SlotIndex) -> (EntryIndex, EntryIndex) {
        self.records.geometry.frames_of_slot(self.class, slot)
    }

    /// Returns the slots that touch a frame, as a set.
    #[inline]
    pub(crate) fn slots_of_frame(&self, entry: EntryIndex) -> u128 {
        self.records.geometry.slots_of_frame(self.class, entry)
    }

    /// Returns the lowest free slot of a zspage with room.
    #[inline]
    #[expect(clippy::expect_used, reason = "it was found with room")]
    pub(crate) fn lowest_free(&self, zspage: ZspageId) -> SlotIndex {
        let record = self.record(zspage);
        let free = SlotIndex::lowest(record.usable() & !record.used());
        free.expect("a zspage with room has a free slot")
    }

    /// Returns the absent frame of a zspage without room that gives it one more slot: that of the
    /// lowest slot which lacks but one.
    #[expect(
        clippy::expect_used,
        reason = "by geometry; a unit test looks at every boundary"
    )]
    pub(crate) fn entry_to_attach(&self, zspage: ZspageId) -> EntryIndex {
        let extended = self.slot_to_extend(zspage);
        extended.expect("a slot that lacks one frame").1
    }

    /// Returns the lowest slot that lacks one frame, and the entry of that frame; `None` if the
    /// zspage is whole.
    ///
    /// Otherwise there always is such a slot. With no frame attached, the first slot lies in the
    /// first frame. With some, an attached and an absent frame are neighbours: either a slot
    /// spans their boundary, and lacks the absent one alone; or none does, and the slot that
    /// touches the boundary from the absent side, being no longer than a frame, lies in that
    /// frame alone.
    pub(crate) fn slot_to_extend(&self, zspage: ZspageId) -> Option<(SlotIndex, EntryIndex)> {
        let record = self.record(zspage);
        if record.is_whole() {
            return None;
        }
        let (attached, unusable) = (record.attached(), !record.usable());
        let slots = u128::MAX >> (MAX_SLOTS - as_index(self.class.slots));
        SlotIndex::of_set(slots & unusable).find_map(|slot| {
            let (first, last) = self.frames_of_slot(slot);
            let missing = (first.bit() | last.bit()) & !attached;
            EntryIndex::only(missing).map(|entry| (slot, entry))
        })
    }
}
