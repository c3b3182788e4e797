//! A few moves: planned under the class lock, copied without, committed under it.

use super::report::CompactReport;
use super::sparse::{BYTES, FEW_FRAMES, MOVES, SparseZspages, frames_needed};
use crate::class::{ClassContext, Released};
use crate::client::Client;
use crate::ids::as_index;
use crate::ids::wide;
use crate::ids::{ClassIndex, EntryIndex, SlotIndex, WordIndex, ZspageId};
use crate::pool::Pool;
use crate::word::{Place, Target, Word};
use zs_mm::{Arena, ArenaRef, Backing, Frame};
use zs_sync::{Ordering, Peek, prefetch};

/// Objects that are looked at in one hold.
const LOOKS: usize = 4 * MOVES;

/// An object on its way.
#[derive(Debug)]
struct Move {
    index: WordIndex,
    /// The word with the mover's pin.
    pinned: Word,
    from: Place,
    to: Place,
    len: usize,
    /// The word names the new place.
    done: bool,
    released: Released,
}

/// Objects on their way.
#[derive(Debug)]
pub(super) struct Batch {
    moves: [Option<Move>; MOVES],
    len: usize,
    most: usize,
    bytes: usize,
    /// Objects that were in use.
    busy: u64,
    attached: u64,
    /// Nothing of it is done.
    given_up: bool,
}

impl Batch {
    /// Makes a batch of at most `most` moves.
    pub(super) fn new(most: u64) -> Self {
        Self {
            moves: [const { None }; MOVES],
            len: 0,
            most: usize::try_from(most).unwrap_or(MOVES).min(MOVES),
            bytes: 0,
            busy: 0,
            attached: 0,
            given_up: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the batch up unless it has so many moves.
    pub(super) fn only_if_whole(&mut self, moves: u64) {
        self.given_up = (wide(self.len)) < moves;
    }

    /// Says whether one hold of the lock may go on. Objects that are in use cost a look each.
    fn has_room_for(&self, len: usize) -> bool {
        let looks = self.len + as_index(self.busy);
        let fits = self.len == 0 || self.bytes + len <= BYTES;
        self.len < self.most && looks < LOOKS && fits
    }

    /// Says whether objects of other zspages are on their way to this one.
    fn fills(&self, zspage: ZspageId) -> bool {
        let planned = self.moves.iter().flatten();
        planned
            .filter(|planned| planned.from.zspage != zspage)
            .any(|planned| planned.to.zspage == zspage)
    }

    fn push(&mut self, planned: Move) {
        self.bytes += planned.len;
        self.moves[self.len] = Some(planned);
        self.len += 1;
    }
}

/// The reason for which planning ended.
#[derive(Debug)]
pub(super) enum Planned {
    /// The batch is full.
    More,
    /// There is no room for so many more without another frame.
    NeedsFrame(u64),
    /// There is nothing more to move from and to these zspages.
    Over,
}

/// Frames to move objects to.
#[derive(Debug, Default)]
pub(super) struct Supply([Option<Frame>; FEW_FRAMES + 1]);

impl Supply {
    /// Takes one more from the arena; whether that went.
    pub(super) fn fetch<B: Backing>(&mut self, arena: &Arena<B>) -> bool {
        let Some(place) = self.0.iter_mut().find(|place| place.is_none()) else {
            return false;
        };
        *place = arena.alloc_frame().ok();
        place.is_some()
    }

    pub(super) fn take(&mut self) -> Option<Frame> {
        self.0.iter_mut().find_map(Option::take)
    }

    /// Takes back what `take` gave.
    fn put(&mut self, frame: Frame) {
        let place = self.0.iter_mut().find(|place| place.is_none());
        debug_assert!(place.is_some(), "there is the place that it was taken from");
        if let Some(place) = place {
            *place = Some(frame);
        }
    }

    /// Gives back what was not needed.
    pub(super) fn release<B: Backing>(mut self, arena: &Arena<B>) {
        while let Some(frame) = self.take() {
            arena.free_frame(frame);
        }
    }
}

/// A place to which an object can move.
enum Room {
    Slot(SlotIndex),
    /// This slot, once this frame is attached.
    Extended(SlotIndex, EntryIndex),
    None,
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Takes objects of a class and slots for them.
    pub(super) fn plan(
        &self,
        class: ClassIndex,
        sparse: &mut SparseZspages,
        batch: &mut Batch,
        supply: &mut Supply,
    ) -> Planned {
        let mut locked = self.lock_class(class);
        let context = locked.context();
        // The frame that is kept back goes without a move.
        let needed = frames_needed(self.geometry, context.class, locked.objects())
            + u64::from(locked.has_spare());
        let frames_to_win = u64::from(locked.frames()) > needed;
        sparse.forget(locked.closed());
        let mut emptied = None;
        while batch.has_room_for(as_index(context.class.size)) {
            let next = sparse.next(context, frames_to_win);
            let Some((source, slot, destination)) = next else {
                return Planned::Over;
            };
            if emptied.replace(source.zspage) != Some(source.zspage) {
                if batch.fills(source.zspage) {
                    // Its new objects can be moved once they are there.
                    return Planned::More;
                }
                self.prefetch_words(context, source.zspage, slot);
            }
            let below = source.packed.then_some(slot);
            let (to_slot, extension) = match self.room_in(context, destination, below, sparse) {
                Room::Slot(slot) => (slot, None),
                Room::Extended(slot, entry) => match supply.take() {
                    Some(frame) => (slot, Some((entry, frame))),
                    None => return Planned::NeedsFrame(wide(batch.most - batch.len)),
                },
                Room::None => {
                    sparse.full(destination);
                    continue;
                }
            };
            sparse.looked_at(slot);
            let Some((index, pinned)) = self.pin_for_move(context, source.zspage, slot) else {
                batch.busy += 1;
                if let Some((_, frame)) = extension {
                    supply.put(frame);
                }
                continue;
            };
            if let Some((entry, frame)) = extension {
                locked.attach(destination, entry, frame);
                batch.attached += 1;
            }
            let from = pinned.place(&self.layout);
            let len = as_index(context.class.size - from.slack);
            locked.take(destination, to_slot, index, len);
            let to = Place {
                zspage: destination,
                slot: to_slot,
                ..from
            };
            batch.push(Move {
                index,
                pinned,
                from,
                to,
                len,
                done: false,
                released: Released::default(),
            });
        }
        Planned::More
    }

    /// Returns the lowest slot that can be had in a zspage, and lies below `below` if that is
    /// given.
    fn room_in(
        &self,
        context: ClassContext<'_>,
        zspage: ZspageId,
        below: Option<SlotIndex>,
        sparse: &SparseZspages,
    ) -> Room {
        let record = context.record(zspage);
        if record.is_isolated() {
            return Room::None;
        }
        let is_below = |slot: &SlotIndex| below.is_none_or(|below| *slot < below);
        let free = SlotIndex::lowest(record.usable() & !record.used());
        if let Some(slot) = free.filter(is_below) {
            return Room::Slot(slot);
        }
        match context.slot_to_extend(zspage) {
            Some((slot, entry)) if is_below(&slot) && sparse.may_extend() => {
                Room::Extended(slot, entry)
            }
            _ => Room::None,
        }
    }

    /// Asks for the words of the objects that a batch may take from a zspage: each is a miss.
    fn prefetch_words(&self, context: ClassContext<'_>, zspage: ZspageId, highest: SlotIndex) {
        let record = context.record(zspage);
        let slots = SlotIndex::of_class(highest.number() + 1).rev();
        let slots = slots.take(2 * MOVES);
        for index in slots.filter_map(|slot| record.back_reference(slot)) {
            if let Some(cell) = self.cell(index) {
                prefetch(cell);
            }
        }
    }

    /// Pins the object in a slot, unless somebody uses it. Under the class lock, so that while the
    /// word names the slot its object cannot go.
    fn pin_for_move(
        &self,
        context: ClassContext<'_>,
        zspage: ZspageId,
        slot: SlotIndex,
    ) -> Option<(WordIndex, Word)> {
        let index = context.record(zspage).back_reference(slot)?;
        let cell = self.cell(index)?;
        // Relaxed: the compare-and-swap decides.
        let seen = Word(cell.peek(Ordering::Relaxed));
        let place = seen.place(&self.layout);
        // A word that names another place, or none, is one that a replace is moving here.
        if !seen.has_place() || (place.zspage, place.slot) != (zspage, slot) {
            return None;
        }
        let pinned = seen.moving(Target::word(index)).ok()?;
        // Acquire pairs with the Release that made the word live: the bytes.
        cell.compare_exchange(seen.0, pinned.0, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some((index, pinned))
    }

    /// Copies the objects to their new places, with no lock held.
    pub(super) fn copy(&self, class: ClassIndex, batch: &Batch) {
        let payload = self.arena().payload();
        for planned in batch.moves.iter().flatten() {
            for place in [planned.from, planned.to] {
                payload.prefetch(self.spans(class, place, 1).first.start);
            }
        }
        for planned in batch.moves.iter().flatten() {
            let from = self.spans(class, planned.from, planned.len);
            let to = self.spans(class, planned.to, planned.len);
            // SAFETY: 1. The mover's pin keeps the source live: nobody writes its bytes, and its
            // frames stay attached. 2. The destination is in use for this move alone: no word leads
            // there yet, so nobody reads, writes or frees it; its frames are attached, hence
            // committed.
            unsafe { to.copy_from(payload, &from) };
        }
    }

    /// Leads the words to the new places and clears the old slots; or, where somebody came in
    /// meanwhile, clears the new ones.
    pub(super) fn commit(&self, class: ClassIndex, batch: &mut Batch) {
        let mut locked = self.lock_class(class);
        let closed_by_others = locked.closed();
        for planned in batch.moves.iter_mut().flatten() {
            let Some(cell) = self.cell(planned.index) else {
                continue;
            };
            if !batch.given_up {
                let moved = planned.pinned.moved(&self.layout, planned.to);
                // Release pairs with the Acquire of a pin: a reader of the new place sees its
                // bytes. Acquire: whoever was inside the old place has read
                // (readers unpin with Release).
                let committed = cell.compare_exchange(
                    planned.pinned.0,
                    moved.0,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                planned.done = committed.is_ok();
            }
            // A move that is given up clears its new slot before it unpins: so under the class lock
            // every back reference but a replace's leads to a word that names the slot.
            let gone = if planned.done {
                planned.from
            } else {
                planned.to
            };
            if self.zero_freed {
                self.zero_place(class, gone, planned.len);
            }
            planned.released = locked.clear(gone);
        }
        // What this thread closes it knows: see `settle`.
        locked.forget_closed_since(closed_by_others);
    }

    /// Gives back what the moves left, ends the pins of those that were given up, and counts.
    pub(super) fn settle(
        &self,
        class: ClassIndex,
        sparse: &mut SparseZspages,
        batch: Batch,
        report: &mut CompactReport,
    ) {
        report.objects_busy += batch.busy;
        report.frames_attached += batch.attached;
        for planned in batch.moves.into_iter().flatten() {
            report.frames_freed += planned.released.frames();
            if let Some(zspage) = planned.released.closed {
                sparse.closed(zspage);
            }
            self.give_back(class, planned.released);
            if planned.done {
                report.objects_moved += 1;
                report.bytes_moved += wide(planned.len);
            } else {
                // In a batch that was given up it is the others that were in use.
                report.objects_busy += u64::from(!batch.given_up);
                self.unpin_mover(planned.index);
            }
        }
    }
}
