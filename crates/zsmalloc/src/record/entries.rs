//! The frame entries of a record: attached, isolated, moved, draining, detached.
//!
//! absent -> attached -> absent; attached -> isolated -> attached, there or at another frame;
//! attached -> draining -> attached (`docs/words.md`).

use super::{
    ATTACHED, DRAINING, FRAME_MASK, FrameState, ISOLATED, ISOLATED_MASK, ONE_ISOLATED, Record,
    STATE_MASK, Summary,
};
use crate::ids::{EntryIndex, SlotIndex};
use zs_mm::FrameId;
use zs_sync::{Ordering, Peek};

impl Record<'_> {
    /// Says whether a frame of the zspage is isolated. Under the class lock.
    #[inline]
    pub(crate) fn is_isolated(&self) -> bool {
        self.isolated() != 0
    }

    /// Returns how many of its entries are isolated, as recorded. Under the class lock.
    #[inline]
    pub(crate) fn isolated(&self) -> u32 {
        // Relaxed: changed under the class lock only.
        let identity = self.cell(0).atomic().load(Ordering::Relaxed);
        (identity & ISOLATED_MASK) / ONE_ISOLATED
    }

    /// Returns the state of an entry.
    #[inline]
    pub(crate) fn frame_state(&self, entry: EntryIndex) -> FrameState {
        // Acquire pairs with the Release of the change: for a writer that has its word, `isolate`.
        match self.entry_cell(entry).peek(Ordering::Acquire) & STATE_MASK {
            ATTACHED => FrameState::Attached,
            ISOLATED => FrameState::Isolated,
            DRAINING => FrameState::Draining,
            _ => FrameState::Absent,
        }
    }

    /// Isolates an attached entry, if it names this frame. Under the class lock.
    pub(crate) fn isolate(&self, entry: EntryIndex, frame: FrameId) -> bool {
        let isolated = self.change_entry(entry, ATTACHED | frame.0, ISOLATED | frame.0);
        if isolated {
            // Relaxed, here and in `end_isolation`: read under the class lock only.
            self.cell(0)
                .atomic()
                .fetch_add(ONE_ISOLATED, Ordering::Relaxed);
        }
        isolated
    }

    /// Attaches an isolated entry again, at the same frame. Under the class lock.
    pub(crate) fn put_back(&self, entry: EntryIndex, frame: FrameId) {
        let done = self.change_entry(entry, ISOLATED | frame.0, ATTACHED | frame.0);
        debug_assert!(done, "an isolated entry is its mover's");
        self.end_isolation();
    }

    /// isolated at one frame -> attached at another, or draining if the first is being read. Under
    /// the class lock; the bytes are there.
    pub(crate) fn move_to(&self, entry: EntryIndex, from: FrameId, to: FrameId) {
        let done = self.change_entry(entry, ISOLATED | from.0, ATTACHED | to.0);
        debug_assert!(done, "an isolated entry is its mover's");
        self.end_isolation();
    }

    /// Marks an attached entry as draining: its predecessor is still being read. Under the class
    /// lock.
    pub(crate) fn begin_drain(&self, entry: EntryIndex, frame: FrameId) {
        let done = self.change_entry(entry, ATTACHED | frame.0, DRAINING | frame.0);
        debug_assert!(done, "the entry was just moved");
    }

    /// Ends a drain: the entry is attached. Under the class lock.
    pub(crate) fn end_drain(&self, entry: EntryIndex) {
        // Release: as in `change_entry`.
        let before = self
            .entry_cell(entry)
            .fetch_and(!STATE_MASK | ATTACHED, Ordering::Release);
        debug_assert_eq!(before & STATE_MASK, DRAINING, "a draining entry");
    }

    fn end_isolation(&self) {
        let before = self
            .cell(0)
            .atomic()
            .fetch_sub(ONE_ISOLATED, Ordering::Relaxed);
        debug_assert_ne!(before & ISOLATED_MASK, 0, "an isolated entry is counted");
    }

    fn change_entry(&self, entry: EntryIndex, from: u32, to: u32) -> bool {
        // Release pairs with the Acquire in `frame` (the new frame's bytes) and in `frame_state`.
        // Changed under the class lock only: it fails if the entry is not what the caller
        // took it for.
        self.entry_cell(entry)
            .compare_exchange(from, to, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// Returns the frame that an entry names, if it has one.
    #[inline]
    pub(crate) fn frame(&self, entry: EntryIndex) -> Option<FrameId> {
        // Acquire pairs with the Release in `attach`: the frame's bytes come after it.
        let word = self.entry_cell(entry).peek(Ordering::Acquire);
        (word != 0).then_some(FrameId(word & FRAME_MASK))
    }

    /// Attaches an absent entry. Under the class lock.
    pub(crate) fn attach(&self, entry: EntryIndex, frame: FrameId) {
        // Release pairs with the Acquire in `frame`.
        let outcome = self.entry_cell(entry).compare_exchange(
            0,
            ATTACHED | frame.0,
            Ordering::Release,
            Ordering::Relaxed,
        );
        debug_assert!(outcome.is_ok(), "an absent entry is attached");
        let attached = self.summary().attached | entry.bit();
        let usable = self.usable() | self.slots_gained(entry, attached);
        self.set_usable(usable, attached);
    }

    /// Returns the slots that touch a frame and lack no other.
    fn slots_gained(&self, entry: EntryIndex, attached: u16) -> u128 {
        let touching = self.geometry.slots_of_frame(self.class, entry);
        let lacks_another = |slot: &SlotIndex| {
            let (first, last) = self.geometry.frames_of_slot(self.class, *slot);
            attached & first.bit() == 0 || attached & last.bit() == 0
        };
        // Only the first and the last of them can touch another frame too.
        [SlotIndex::lowest(touching), SlotIndex::highest(touching)]
            .into_iter()
            .flatten()
            .filter(lacks_another)
            .fold(touching, |slots, lacking| slots & !lacking.bit())
    }

    fn set_usable(&self, usable: u128, attached: u16) {
        self.set_bitmap(self.usable_at(), usable);
        self.set_summary(Summary {
            usable: usable.count_ones(),
            attached,
            ..self.summary()
        });
    }

    /// Detaches an entry, if there is a frame. Under the class lock; no slot that touches the frame
    /// is in use. (A pool that goes detaches frames in any state.)
    pub(crate) fn detach(&self, entry: EntryIndex) -> Option<FrameId> {
        let frame = self.frame(entry)?;
        // Relaxed: no object touches the frame, so nobody looks at the entry to reach bytes, and
        // the class lock orders all who change it.
        self.entry_cell(entry).swap(0, Ordering::Relaxed);
        let usable = self.usable() & !self.geometry.slots_of_frame(self.class, entry);
        self.set_usable(usable, self.summary().attached & !entry.bit());
        Some(frame)
    }
}
