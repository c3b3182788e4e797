//! Zspage records: what is known of a zspage, in units of 64 bytes.
//!
//! A zspage's id is the number of its record's first unit. The record, in 32-bit cells:
//!
//! | cells | content | access |
//! |---|---|---|
//! | 0 | identity: class, isolated entries, and the mark of a record in use | atomic |
//! | 1 .. 1 + chain | frame entries | atomic |
//! | 2 | previous and next zspage of the same list | class lock |
//! | 1 | summary: how many of the two sets that follow, and the entries that are attached | class lock |
//! | 4 | slots in use, one bit each | class lock |
//! | 4 | slots whose frames are all attached | class lock |
//! | slots | back references: word index + 1, or 0 | class lock |
//!
//! The identity counts the isolated entries too: a zspage that has any takes no new object.
//!
//! A frame entry is `state << 28 | frame`: 0 absent, 1 attached, 2 isolated (somebody moves the
//! frame), 3 draining (its predecessor is still being read). It changes by compare-and-swap under
//! the class lock; readers look at it with nothing but a pin on one of the zspage's objects, which
//! keeps entry and record in place.

pub(crate) mod units;

mod entries;

use crate::geometry::{Geometry, MAX_CHAIN, MAX_SLOTS, SizeClass};
use crate::ids::as_index;
use crate::ids::{ClassIndex, EntryIndex, Link, SlotIndex, WordIndex, ZspageId};
use crate::record::units::{RecordAlloc, UNIT_CELLS};
use zs_mm::{FrameId, MetaTable};
use zs_sync::{AtomicU32, Dual32, Guarded32, Ordering, Peek};

const IN_USE: u32 = 1 << 31;
const CLASS_MASK: u32 = 0xff;
/// One isolated entry, in the identity: up to 16 of them.
const ONE_ISOLATED: u32 = 1 << 8;
const ISOLATED_MASK: u32 = 0x1f << 8;

const ATTACHED: u32 = 1 << 28;
const ISOLATED: u32 = 2 << 28;
const DRAINING: u32 = 3 << 28;
const STATE_MASK: u32 = 3 << 28;
const FRAME_MASK: u32 = ATTACHED - 1;
const BITMAP_CELLS: usize = 4;
const FIXED_CELLS: usize = 1 + 2 + 1 + 2 * BITMAP_CELLS;

const _: () = assert!(
    zs_mm::MAX_ARENA_BYTES >> zs_mm::PageSize::K4.shift() <= FRAME_MASK as u64 + 1,
    "a frame number fits an entry"
);

/// The state of an entry's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameState {
    /// There is none.
    Absent,
    /// It can be filled, and moved.
    Attached,
    /// Somebody moves it: nobody writes to it.
    Isolated,
    /// It is in the place of another, which is still being read.
    Draining,
}

/// Returns the number of units of a record of this class.
pub(crate) fn units_of(class: SizeClass) -> usize {
    (FIXED_CELLS + as_index(class.chain) + as_index(class.slots)).div_ceil(UNIT_CELLS)
}

impl SizeClass {
    /// Returns the number of bytes of a zspage's record: its counters and bitmaps, its frame
    /// entries, its slots' back references.
    pub fn record_bytes(self) -> usize {
        units_of(self) * UNIT_CELLS * size_of::<u32>()
    }
}

/// What is asked of a zspage most often, in one cell: follows from its bitmaps and entries.
///
/// ```text
///  31           16 15      8 7       0
/// +---------------+---------+---------+
/// |   attached    | usable  |  used   |
/// +---------------+---------+---------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Slots in use.
    pub(crate) used: u32,
    /// Slots whose frames are all attached.
    pub(crate) usable: u32,
    /// The entries that are attached, one bit each.
    pub(crate) attached: u16,
}

const _: () = assert!(MAX_CHAIN <= 16 && MAX_SLOTS < 256, "they fit the summary");

impl Summary {
    fn unpack(bits: u32) -> Self {
        Self {
            used: bits & 0xff,
            usable: bits >> 8 & 0xff,
            attached: (bits >> 16) as u16,
        }
    }

    fn pack(self) -> u32 {
        self.used | self.usable << 8 | u32::from(self.attached) << 16
    }
}

/// The records of one pool.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) units: RecordAlloc,
    pub(crate) geometry: &'static Geometry,
}

/// One record; the class says where its cells lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    cells: &'a MetaTable<Dual32>,
    base: usize,
    geometry: &'static Geometry,
    class: SizeClass,
}

impl Records {
    /// Returns the cells of all records.
    #[inline]
    pub(crate) fn cells(&self) -> &MetaTable<Dual32> {
        self.units.cells()
    }

    /// Returns the class of a zspage that is in use, or `None`. Only a pin on one of its objects,
    /// or its class lock, keeps the answer true.
    #[inline]
    pub(crate) fn class_of(&self, zspage: ZspageId) -> Option<ClassIndex> {
        let cell = self.cells().get(zspage.index() * UNIT_CELLS)?;
        // Acquire pairs with the Release in `open`.
        let identity = cell.atomic().peek(Ordering::Acquire);
        (identity & IN_USE != 0).then_some(ClassIndex::new((identity & CLASS_MASK) as u8))
    }

    /// Returns what the entry of a zspage seems to name: for hints, with nothing that keeps the
    /// zspage as it is. What is taken for its record may be the end of another, so that the entry
    /// lies beyond the table.
    #[inline]
    pub(crate) fn glance(&self, zspage: ZspageId, entry: EntryIndex) -> Option<FrameId> {
        let cell = self
            .cells()
            .get(zspage.index() * UNIT_CELLS + 1 + entry.index())?;
        // Relaxed: a guess.
        let word = cell.atomic().peek(Ordering::Relaxed);
        (word != 0).then_some(FrameId(word & FRAME_MASK))
    }

    #[inline]
    pub(crate) fn record(&self, zspage: ZspageId, class: SizeClass) -> Record<'_> {
        Record {
            cells: self.cells(),
            base: zspage.index() * UNIT_CELLS,
            geometry: self.geometry,
            class,
        }
    }
}

impl Record<'_> {
    fn cell(&self, index: usize) -> &Dual32 {
        self.cells.at(self.base + index)
    }

    fn guarded(&self, index: usize) -> &Guarded32 {
        self.cell(index).guarded()
    }

    fn entry_cell(&self, entry: EntryIndex) -> &AtomicU32 {
        debug_assert!(entry.number() < self.class.chain);
        self.cell(1 + entry.index()).atomic()
    }

    fn links_at(&self) -> usize {
        1 + as_index(self.class.chain)
    }

    fn summary_at(&self) -> usize {
        self.links_at() + 2
    }

    fn used_at(&self) -> usize {
        self.summary_at() + 1
    }

    fn usable_at(&self) -> usize {
        self.used_at() + BITMAP_CELLS
    }

    fn back_references_at(&self) -> usize {
        self.usable_at() + BITMAP_CELLS
    }

    /// Marks a record as in use. All its other cells are zero.
    pub(crate) fn open(&self, class: ClassIndex) {
        let identity = self.cell(0).atomic();
        // Release pairs with the Acquire in `class_of`.
        let before = identity.swap(IN_USE | u32::from(class.number()), Ordering::Release);
        debug_assert_eq!(before, 0, "a new record is zero");
    }

    /// Marks a record as unused. Its entries, bitmaps and back references are zero already.
    pub(crate) fn close(&self) {
        self.set_links(Link::from_bits(0), Link::from_bits(0));
        // Release pairs with the Acquire in `class_of`.
        self.cell(0).atomic().swap(0, Ordering::Release);
    }

    /// Returns what is asked most often.
    #[inline]
    pub(crate) fn summary(&self) -> Summary {
        Summary::unpack(self.guarded(self.summary_at()).get())
    }

    fn set_summary(&self, summary: Summary) {
        self.guarded(self.summary_at()).set(summary.pack());
    }

    /// Returns the entries that are attached, one bit each.
    pub(crate) fn attached(&self) -> u16 {
        self.summary().attached
    }

    /// Says whether every frame of the chain is attached.
    pub(crate) fn is_whole(&self) -> bool {
        u32::from(self.attached()) == (1 << self.class.chain) - 1
    }

    /// Returns the summary as it follows from bitmaps and entries.
    pub(crate) fn recount(&self) -> Summary {
        let attached = EntryIndex::of_chain(self.class.chain)
            .filter(|&entry| self.frame(entry).is_some())
            .fold(0, |set, entry| set | entry.bit());
        Summary {
            used: self.used().count_ones(),
            usable: self.slots_with_frames().count_ones(),
            attached,
        }
    }

    /// Returns the slots whose frames are all attached, from the entries.
    pub(crate) fn slots_with_frames(&self) -> u128 {
        let all = u128::MAX >> (MAX_SLOTS - as_index(self.class.slots));
        EntryIndex::of_chain(self.class.chain)
            .filter(|&entry| self.frame(entry).is_none())
            .fold(all, |slots, absent| {
                slots & !self.geometry.slots_of_frame(self.class, absent)
            })
    }

    fn bitmap(&self, at: usize) -> u128 {
        (0..BITMAP_CELLS).rev().fold(0, |bits, cell| {
            bits << 32 | u128::from(self.guarded(at + cell).get())
        })
    }

    fn set_bitmap(&self, at: usize, bits: u128) {
        (0..BITMAP_CELLS)
            .for_each(|cell| self.guarded(at + cell).set((bits >> (32 * cell)) as u32));
    }

    /// Returns the slots in use.
    pub(crate) fn used(&self) -> u128 {
        self.bitmap(self.used_at())
    }

    /// Returns the slots whose frames are all attached, as recorded.
    pub(crate) fn usable(&self) -> u128 {
        self.bitmap(self.usable_at())
    }

    /// Returns the cell and the bit that say whether a slot is in use.
    fn used_bit(&self, slot: SlotIndex) -> (&Guarded32, u32) {
        let cell = self.guarded(self.used_at() + slot.index() / 32);
        (cell, 1 << (slot.number() % 32))
    }

    fn back_reference_cell(&self, slot: SlotIndex) -> &Guarded32 {
        self.guarded(self.back_references_at() + slot.index())
    }

    /// Takes a free slot for word `index`.
    pub(crate) fn take(&self, slot: SlotIndex, index: WordIndex) {
        debug_assert_eq!(self.used() & slot.bit(), 0, "a free slot is taken");
        let (cell, bit) = self.used_bit(slot);
        cell.set(cell.get() | bit);
        self.count_used(1);
        self.back_reference_cell(slot).set(index.number() + 1);
    }

    /// Clears a slot and its back reference.
    pub(crate) fn clear(&self, slot: SlotIndex) {
        debug_assert_ne!(self.used() & slot.bit(), 0, "a used slot is cleared");
        let (cell, bit) = self.used_bit(slot);
        cell.set(cell.get() & !bit);
        self.count_used(-1);
        self.back_reference_cell(slot).set(0);
    }

    fn count_used(&self, change: i32) {
        let summary = self.summary();
        self.set_summary(Summary {
            used: summary.used.wrapping_add_signed(change),
            ..summary
        });
    }

    /// Returns the word whose object is in a slot, or on its way in or out.
    pub(crate) fn back_reference(&self, slot: SlotIndex) -> Option<WordIndex> {
        let index = self.back_reference_cell(slot).get().checked_sub(1)?;
        Some(WordIndex::new(index))
    }

    /// Returns the neighbours in the zspage's list: (previous, next).
    pub(crate) fn links(&self) -> (Link, Link) {
        let at = self.links_at();
        let link = |at| Link::from_bits(self.guarded(at).get());
        (link(at), link(at + 1))
    }

    pub(crate) fn set_links(&self, previous: Link, next: Link) {
        let at = self.links_at();
        self.guarded(at).set(previous.bits());
        self.guarded(at + 1).set(next.bits());
    }
}
