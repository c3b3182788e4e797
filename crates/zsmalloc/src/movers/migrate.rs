//! MIGRATE, the pool's side: any frame of a live zspage can be moved, whatever is in it.
//!
//! frame -> its entry *isolated* -> no word that touches it is being written to -> (bytes copied)
//! -> the entry names the new frame -> the old one is freed, or drains until its readers have left
//!
//! A frame's move touches no word: a word names a zspage and a slot. Readers are not waited for.
//! Who writes takes its word first and then looks at the entry; the mover marks the entry and then
//! looks at the words, by read-modify-writes: so one of the two sees the other
//! (`docs/interleavings.md`, 23 to 26).
//!
//! # Locking
//!
//! Each step is one hold of the class lock: an isolation, a look at the words of at most 128 slots,
//! a swap of the entry with another such look. The bytes are copied in between, under the frame's
//! lock alone.

use crate::class::ClassContext;
use crate::client::Client;
use crate::ids::CLASSES;
use crate::ids::as_index;
use crate::ids::{ClassIndex, EntryIndex, SlotIndex, ZspageId};
use crate::pool::Pool;
use crate::pool::drains::Drain;
use crate::record::FrameState;
use crate::word::{Place, State, Word};
use zs_mm::{ArenaRef, Frame, FrameId, FrameLock, FrameOwner, Movable, PoolKey, Prepared, PutBack};
use zs_sync::{Ordering, Peek, prefetch};

/// An object, as a mover of frames sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nobody is inside.
    Idle,
    /// Somebody reads its bytes.
    Inside,
    /// Somebody writes them, or is about to.
    Writing,
    /// The word does not name the slot: an object is on its way in.
    Elsewhere,
}

// SAFETY: 1. `prepare` is ready if no word that touches the frame is filling or exclusive, and each
// names its slot; the entry is isolated, so no slot of it is taken any more, and whoever takes such
// a word to write to it looks at the entry and lets go (`is_being_moved`). What zeroes freed bytes
// does the same. A frame's memory reads as zeros until it is written. 2. `commit` swaps the entry
// under the class lock: whoever pins a word later finds the new frame, and for whoever pinned one
// before the old frame drains. 3. `isolate` compares owner and entry under the class lock, under
// which both change.
unsafe impl<A: ArenaRef + Sync, C: Client> Movable for Pool<A, C> {
    fn key(&self) -> &PoolKey {
        self.key()
    }

    fn isolate(&self, lock: &FrameLock<'_>, owner: FrameOwner) -> bool {
        if as_index(owner.class) >= CLASSES || !self.drains.promise(self.arena()) {
            return false;
        }
        let isolated = self.isolate_entry(lock.frame(), owner);
        if !isolated {
            self.drains.end_promise(self.host());
        }
        isolated
    }

    fn prepare(&self, _lock: &FrameLock<'_>, owner: FrameOwner) -> Prepared {
        let (class, zspage, entry) = parts(owner);
        let context = self.context(class);
        let touching = context.slots_of_frame(entry);
        let _locked = self.lock_class(class);
        let slots = context.record(zspage).used() & touching;
        if slots == 0 {
            return Prepared::Empty;
        }
        self.prefetch_slots(context, zspage, slots);
        let is_written = |slot| {
            let look = self.look(context, zspage, slot);
            matches!(look, Look::Writing | Look::Elsewhere)
        };
        if SlotIndex::of_set(slots).any(is_written) {
            Prepared::Busy
        } else {
            Prepared::Ready
        }
    }

    fn commit(&self, lock: &FrameLock<'_>, owner: FrameOwner, to: Frame) -> Option<Frame> {
        let (class, zspage, entry) = parts(owner);
        let from = lock.frame();
        let context = self.context(class);
        let record = context.record(zspage);
        let touching = context.slots_of_frame(entry);
        let mut locked = self.lock_class(class);
        let to = self.arena().assign(to, self.key(), owner);
        self.zero_free_parts(context, zspage, entry, to);
        locked.move_to(zspage, entry, from, to);
        let pending = self.slots_inside(context, zspage, record.used() & touching);
        if pending != 0 {
            record.begin_drain(entry, to);
            let drains = self.arena().begin_drain(from, self.key(), owner);
            debug_assert!(drains, "an isolated frame was the zspage's");
            drop(locked);
            let drain = Drain {
                frame: from,
                zspage,
                entry,
                pending,
            };
            self.drains.push(self.host(), drain);
            return None;
        }
        let old = self.arena().reclaim(from, self.key(), owner);
        debug_assert!(old.is_some(), "an isolated frame was the zspage's");
        // All that was in it may have been freed meanwhile.
        let released = locked.detach_if_bare(zspage, entry);
        drop(locked);
        self.give_back(class, released);
        self.drains.end_promise(self.host());
        old.map(|mut old| {
            self.zero_frame(&mut old);
            old
        })
    }

    fn putback(&self, lock: &FrameLock<'_>, owner: FrameOwner) -> PutBack {
        let (class, zspage, entry) = parts(owner);
        let context = self.context(class);
        let mut locked = self.lock_class(class);
        self.zero_free_parts(context, zspage, entry, lock.frame());
        locked.put_back(zspage, entry, lock.frame());
        let mut released = locked.detach_if_bare(zspage, entry);
        drop(locked);
        let freed = released.frames[0].take();
        self.give_back(class, released);
        self.drains.end_promise(self.host());
        freed.map_or(PutBack::Kept, PutBack::Free)
    }

    fn drain(&self) {
        self.drain_old_frames();
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Isolates a frame, if it is this owner's. Its zspage takes no new object from now on.
    fn isolate_entry(&self, frame: FrameId, owner: FrameOwner) -> bool {
        let (class, zspage, entry) = parts(owner);
        let mut locked = self.lock_class(class);
        // What was read without the lock may be of another time. Under it the owner is the truth:
        // the zspage is open, of this class, and its entry names the frame.
        let found = self.arena().frame_descriptor(frame);
        if found.and_then(zs_mm::Descriptor::owner) != Some(owner) {
            return false;
        }
        locked.isolate(zspage, entry, frame)
    }

    /// Returns those of `slots` whose objects somebody is inside of.
    pub(crate) fn slots_inside(
        &self,
        context: ClassContext<'_>,
        zspage: ZspageId,
        slots: u128,
    ) -> u128 {
        let is_inside = |&slot: &SlotIndex| {
            let look = self.look(context, zspage, slot);
            matches!(look, Look::Inside | Look::Writing)
        };
        SlotIndex::of_set(slots)
            .filter(is_inside)
            .fold(0, |inside, slot| inside | slot.bit())
    }

    /// Looks at the word of a slot in use, by a read-modify-write that changes nothing: whoever
    /// takes the word later sees what the mover did before. Under the class lock.
    fn look(&self, context: ClassContext<'_>, zspage: ZspageId, slot: SlotIndex) -> Look {
        let record = context.record(zspage);
        let Some(index) = record.back_reference(slot) else {
            return Look::Elsewhere;
        };
        let Some(cell) = self.cell(index) else {
            return Look::Elsewhere;
        };
        // Relaxed: a look first, since a word that names another place may lie in a page that was
        // given back; the exchange below decides.
        let mut seen = cell.peek(Ordering::Relaxed);
        loop {
            let word = Word(seen);
            let place = word.place(&self.layout);
            if !word.has_place() || (place.zspage, place.slot) != (zspage, slot) {
                return Look::Elsewhere;
            }
            // Acquire: what those did who were inside before. Release pairs with the Acquire of
            // those who come after: they see the entry as it is now.
            match cell.compare_exchange(seen, seen, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return self.look_of(word),
                Err(found) => seen = found,
            }
        }
    }

    fn look_of(&self, word: Word) -> Look {
        match word.state() {
            State::Filling | State::Exclusive => Look::Writing,
            // Whoever finishes the free zeroes the bytes.
            State::Freeing if self.zero_freed && word.is_abandoned() => Look::Writing,
            _ if word.readers() > 0 || word.has_mover() => Look::Inside,
            _ => Look::Idle,
        }
    }

    fn prefetch_slots(&self, context: ClassContext<'_>, zspage: ZspageId, slots: u128) {
        let record = context.record(zspage);
        for index in SlotIndex::of_set(slots).filter_map(|slot| record.back_reference(slot)) {
            if let Some(cell) = self.cell(index) {
                prefetch(cell);
            }
        }
    }

    /// Says whether a frame that a place touches is being moved: who has the place's word then lets
    /// go of it, and tries again.
    pub(crate) fn is_being_moved(&self, class: ClassIndex, place: Place) -> bool {
        let context = self.context(class);
        let record = context.record(place.zspage);
        let (first, last) = context.frames_of_slot(place.slot);
        EntryIndex::range(first, last)
            .any(|entry| record.frame_state(entry) == FrameState::Isolated)
    }

    /// Zeroes what of a place lies in frames that nobody moves; the rest is left to whoever does.
    /// Under the class lock; only in a pool that zeroes what it frees.
    pub(crate) fn zero_place(&self, class: ClassIndex, place: Place, len: usize) {
        let context = self.context(class);
        let record = context.record(place.zspage);
        let (first, last) = context.frames_of_slot(place.slot);
        let spans = self.spans(class, place, len);
        for (entry, span) in [(first, spans.first), (last, spans.second)] {
            if !span.is_empty() && record.frame_state(entry) != FrameState::Isolated {
                // SAFETY: no word leads to the place any more, and its slot is not cleared yet, so
                // the bytes are this thread's alone; a frame's mover prepares under
                // this lock.
                unsafe { self.arena().payload().zero(span.start, span.len()) };
            }
        }
    }

    /// Zeroes the free slots' parts of an isolated frame, in a pool that zeroes what it frees: what
    /// was freed meanwhile was left to this. `frame` is the entry's, or the one that takes its
    /// place.
    fn zero_free_parts(
        &self,
        context: ClassContext<'_>,
        zspage: ZspageId,
        entry: EntryIndex,
        frame: FrameId,
    ) {
        if !self.zero_freed {
            return;
        }
        let page = self.geometry.page_size();
        let touching = context.slots_of_frame(entry);
        let start = entry.index() << page.shift();
        for slot in SlotIndex::of_set(touching & !context.record(zspage).used()) {
            let slot_start = context.class.start_of(slot);
            let slot_end = slot_start + as_index(context.class.size);
            let from = slot_start.max(start);
            let to = slot_end.min(start + page.bytes());
            let at = (frame.index() << page.shift()) + from - start;
            // SAFETY: the entry is isolated, so no free slot of it is taken, and this thread moves
            // it: nobody else touches the bytes. The frame is in use, hence committed.
            unsafe { self.arena().payload().zero(at, to - from) };
        }
    }
}

/// Returns the class, the zspage and the entry that an owner stands for.
fn parts(owner: FrameOwner) -> (ClassIndex, ZspageId, EntryIndex) {
    (
        ClassIndex::new(owner.class),
        ZspageId::new(owner.zspage),
        EntryIndex::new(owner.index),
    )
}
