//! A class with its lock held: the only writer of what it holds.
//!
//! slot taken or cleared; frame attached, isolated, moved, put back or detached -> record, counters
//! and list together -> what is given up goes out by the return value

use super::context::ClassContext;
use super::lists::{ClosedSet, Cursor, FULLNESS_GROUPS, Lists};
use crate::geometry::MAX_CHAIN;
use crate::ids::{EntryIndex, Link, SlotIndex, WordIndex, ZspageId};
use crate::record::{FrameState, Record};
use crate::word::Place;
use zs_mm::{Arena, Backing, Frame, FrameId, FrameOwner, PoolKey, wide};
use zs_sync::MutexGuard;

/// A frame of a zspage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameEntry {
    zspage: ZspageId,
    entry: EntryIndex,
}

/// The state that a class lock guards.
#[derive(Debug, Default)]
pub(crate) struct ClassState {
    lists: Lists,
    /// The one attached frame that no object touches, kept back so that a slot at a frame's edge
    /// does not thrash.
    spare: Option<FrameEntry>,
    /// Attached frames.
    frames: u32,
    /// Slots in use.
    objects: u64,
    /// Bytes of the objects in those slots.
    payload: u64,
}

/// What a class gave up under its lock: to be passed to `give_back` when it is released.
#[derive(Debug, Default)]
#[must_use = "frames and a record that are dropped are lost"]
pub(crate) struct Released {
    pub(crate) frames: [Option<Frame>; 2],
    /// The zspage that was closed, if one was: its record is given up too.
    pub(crate) closed: Option<ZspageId>,
}

impl Released {
    /// Returns how many frames.
    pub(crate) fn frames(&self) -> u64 {
        wide(self.frames.iter().flatten().count())
    }
}

/// A class with its lock held.
pub(crate) struct LockedClass<'a, B: Backing> {
    state: MutexGuard<'a, ClassState>,
    context: ClassContext<'a>,
    arena: &'a Arena<B>,
    key: &'a PoolKey,
}

/// Looks.
impl<'a, B: Backing> LockedClass<'a, B> {
    /// Takes over the lock of the class that `context` is about.
    #[inline]
    pub(crate) fn new(
        state: MutexGuard<'a, ClassState>,
        context: ClassContext<'a>,
        arena: &'a Arena<B>,
        key: &'a PoolKey,
    ) -> Self {
        Self {
            state,
            context,
            arena,
            key,
        }
    }

    pub(crate) fn context(&self) -> ClassContext<'a> {
        self.context
    }

    /// Returns the number of attached frames.
    pub(crate) fn frames(&self) -> u32 {
        self.state.frames
    }

    /// Returns the number of slots in use.
    pub(crate) fn objects(&self) -> u64 {
        self.state.objects
    }

    /// Returns the number of bytes of the objects in those slots.
    pub(crate) fn payload(&self) -> u64 {
        self.state.payload
    }

    /// Returns the number of slots whose frames are all attached.
    pub(crate) fn usable(&self) -> u64 {
        self.state.lists.usable()
    }

    /// Says whether the class keeps a frame back that no object touches.
    pub(crate) fn has_spare(&self) -> bool {
        self.state.spare.is_some()
    }

    /// Returns the frame that is kept back.
    pub(crate) fn spare(&self) -> Option<(ZspageId, EntryIndex)> {
        let spare = self.state.spare?;
        Some((spare.zspage, spare.entry))
    }

    /// Returns the zspages by fullness group; those of which a frame is on its way count as full.
    pub(crate) fn groups(&self) -> [u32; FULLNESS_GROUPS] {
        self.state.lists.groups()
    }

    /// Returns the number of zspages of the class.
    pub(crate) fn zspages(&self) -> u32 {
        self.state.lists.zspages()
    }

    /// Returns the fullest zspage with room in its attached frames.
    #[inline]
    pub(crate) fn fullest_with_room(&self) -> Option<ZspageId> {
        self.state.lists.fullest_with_room()
    }

    /// Returns a zspage without room to which a frame can be attached.
    pub(crate) fn extendable(&self) -> Option<ZspageId> {
        self.state.lists.extendable()
    }

    /// Returns the zspages that were closed since the compactor began to look.
    pub(crate) fn closed(&self) -> ClosedSet {
        self.state.lists.closed()
    }

    /// Returns the next zspage on a walk. None may have been closed since the walk began; one that
    /// was listed anew may be met twice, or not at all.
    pub(crate) fn next(&self, cursor: &mut Cursor) -> Option<ZspageId> {
        self.state.lists.next(self.context, cursor)
    }

    /// Calls `visit` with each zspage; ends at the first error, or when a list is broken.
    pub(crate) fn walk<E>(
        &self,
        visit: impl FnMut(ZspageId, Record<'_>) -> Result<(), E>,
        broken: impl FnMut(Link) -> E,
    ) -> Result<(), E> {
        self.state.lists.walk(self.context, visit, broken)
    }
}

/// Changes.
impl<B: Backing> LockedClass<'_, B> {
    /// Begins a compactor's look at the class: it is told what is closed from here on.
    pub(crate) fn begin_looking(&mut self) {
        self.state.lists.set_closed(ClosedSet::default());
    }

    /// Forgets what was closed since `closed` was all: the compactor itself did that, and knows.
    pub(crate) fn forget_closed_since(&mut self, closed: ClosedSet) {
        self.state.lists.set_closed(closed);
    }

    /// Opens a zspage with its first frame.
    pub(crate) fn open(&mut self, zspage: ZspageId, frame: Frame) {
        self.context.record(zspage).open(self.context.index);
        self.state.lists.list_new(self.context, zspage);
        self.attach(zspage, EntryIndex::new(0), frame);
    }

    /// Opens a zspage whose one frame is kept back, until an object comes. The class keeps no
    /// other.
    pub(crate) fn open_spare(&mut self, zspage: ZspageId, frame: Frame) {
        debug_assert!(
            self.state.spare.is_none(),
            "one frame is kept back at a time"
        );
        self.open(zspage, frame);
        self.state.spare = Some(FrameEntry {
            zspage,
            entry: EntryIndex::new(0),
        });
    }

    /// Attaches a frame where there is none.
    pub(crate) fn attach(&mut self, zspage: ZspageId, entry: EntryIndex, frame: Frame) {
        let owner = self.owner(zspage, entry);
        let frame = self.arena.assign(frame, self.key, owner);
        let change = |record: Record<'_>| record.attach(entry, frame);
        self.state.lists.change(self.context, zspage, change);
        self.state.frames += 1;
    }

    /// Takes a free slot for the object of word `index` with `len` bytes.
    pub(crate) fn take(&mut self, zspage: ZspageId, slot: SlotIndex, index: WordIndex, len: usize) {
        let change = |record: Record<'_>| record.take(slot, index);
        self.state.lists.change(self.context, zspage, change);
        self.state.objects += 1;
        self.state.payload += wide(len);
        let (first, last) = self.context.frames_of_slot(slot);
        let touched =
            |spare: &FrameEntry| spare.zspage == zspage && (first..=last).contains(&spare.entry);
        self.state.spare = self.state.spare.filter(|spare| !touched(spare));
    }

    /// Clears the slot of an object whose word no longer leads there, and detaches the frames that
    /// nothing touches any more, but for one that the class keeps back.
    pub(crate) fn clear(&mut self, place: Place) -> Released {
        let (context, zspage) = (self.context, place.zspage);
        let (first, last) = context.frames_of_slot(place.slot);
        let change = |record: Record<'_>| record.clear(place.slot);
        self.state.lists.change(context, zspage, change);
        self.state.objects -= 1;
        self.state.payload -= u64::from(context.class.size - place.slack);
        let mut released = Released::default();
        for entry in EntryIndex::range(first, last) {
            let touching = context.slots_of_frame(entry);
            let record = context.record(zspage);
            // A frame that is on its way is given up by whoever moves it.
            if record.used() & touching != 0 || record.frame_state(entry) != FrameState::Attached {
                continue;
            }
            if self.state.spare.is_none() {
                self.state.spare = Some(FrameEntry { zspage, entry });
            } else {
                let detached = self.detach(zspage, entry);
                released.frames[entry.index() - first.index()] = detached;
            }
        }
        released.closed = self.close_if_bare(zspage);
        released
    }

    /// Takes back the frame that the class keeps although nothing touches it.
    pub(crate) fn release_spare(&mut self) -> Released {
        let Some(FrameEntry { zspage, entry }) = self.state.spare.take() else {
            return Released::default();
        };
        Released {
            frames: [self.detach(zspage, entry), None],
            closed: self.close_if_bare(zspage),
        }
    }

    /// Detaches the frame of an entry that nobody moves, if nothing touches it.
    pub(crate) fn detach_if_bare(&mut self, zspage: ZspageId, entry: EntryIndex) -> Released {
        let record = self.context.record(zspage);
        debug_assert_eq!(record.frame_state(entry), FrameState::Attached);
        if record.used() & self.context.slots_of_frame(entry) != 0 {
            return Released::default();
        }
        Released {
            frames: [self.detach(zspage, entry), None],
            closed: self.close_if_bare(zspage),
        }
    }

    /// Isolates the frame of an entry, if it is this one: its zspage takes no new object from now
    /// on. What was kept back is so no longer: the putback gives it up.
    pub(crate) fn isolate(&mut self, zspage: ZspageId, entry: EntryIndex, frame: FrameId) -> bool {
        let change = |record: Record<'_>| record.isolate(entry, frame);
        let isolated = self.state.lists.change(self.context, zspage, change);
        if isolated && self.state.spare == Some(FrameEntry { zspage, entry }) {
            self.state.spare = None;
        }
        isolated
    }

    /// Puts another frame in the place of an isolated one.
    pub(crate) fn move_to(
        &mut self,
        zspage: ZspageId,
        entry: EntryIndex,
        from: FrameId,
        to: FrameId,
    ) {
        let change = |record: Record<'_>| record.move_to(entry, from, to);
        self.state.lists.change(self.context, zspage, change);
    }

    /// Ends an isolation, at the same frame.
    pub(crate) fn put_back(&mut self, zspage: ZspageId, entry: EntryIndex, frame: FrameId) {
        let change = |record: Record<'_>| record.put_back(entry, frame);
        self.state.lists.change(self.context, zspage, change);
    }

    /// Clears all slots of any zspage, detaches its frames and closes it, whatever it holds; `None`
    /// if there is no zspage. For a pool that goes.
    pub(crate) fn dissolve_any(&mut self) -> Option<(ZspageId, [Option<Frame>; MAX_CHAIN])> {
        let zspage = self.state.lists.any()?;
        let record = self.context.record(zspage);
        self.state.lists.unlist(self.context, zspage);
        for slot in SlotIndex::of_set(record.used()) {
            record.clear(slot);
        }
        let mut frames = [const { None }; MAX_CHAIN];
        for (entry, place) in EntryIndex::of_chain(self.context.class.chain).zip(&mut frames) {
            let owner = self.owner(zspage, entry);
            let frame = record.detach(entry);
            *place = frame.and_then(|frame| self.arena.reclaim(frame, self.key, owner));
        }
        record.close();
        Some((zspage, frames))
    }

    /// Detaches a frame, and takes it back from the zspage: both under the class lock, so that a
    /// frame's owner and its zspage's entry agree there.
    fn detach(&mut self, zspage: ZspageId, entry: EntryIndex) -> Option<Frame> {
        let change = |record: Record<'_>| record.detach(entry);
        let frame = self.state.lists.change(self.context, zspage, change)?;
        self.state.frames -= 1;
        let owner = self.owner(zspage, entry);
        let frame = self.arena.reclaim(frame, self.key, owner);
        debug_assert!(frame.is_some(), "a detached frame was the zspage's");
        frame
    }

    /// Closes a zspage without any frame; returns it then: its record is the caller's to free.
    fn close_if_bare(&mut self, zspage: ZspageId) -> Option<ZspageId> {
        let record = self.context.record(zspage);
        if record.attached() != 0 {
            return None;
        }
        self.state.lists.unlist(self.context, zspage);
        record.close();
        Some(zspage)
    }

    fn owner(&self, zspage: ZspageId, entry: EntryIndex) -> FrameOwner {
        self.context.owner(self.key, zspage, entry)
    }
}
