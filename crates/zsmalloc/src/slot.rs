//! Slots taken and cleared, frames attached and detached.
//!
//! # Locking
//!
//! What a class lacks (a frame, a record) is fetched with no lock held, then the class is locked again
//! and everything looked at again: somebody may have made room meanwhile. What a class gives up is
//! handed out of its lock before the arena sees it.

use crate::class::{ClassContext, ClassState, FrameEntry};
use crate::client::Client;
use crate::error::Error;
use crate::geometry::MAX_SLOTS;
use crate::ids::{ClassIndex, EntryIndex, SlotIndex, WordIndex, ZspageId};
use crate::pool::Pool;
use crate::record::{FrameState, units_of};
use crate::word::Place;
use zs_mm::{ArenaRef, Frame, FrameOwner};

/// What a class lacks for one more slot. Never more than one frame: see `entry_to_attach`.
#[derive(Debug, Clone, Copy)]
enum Lack {
    Frame,
    FrameAndRecord,
}

/// What was fetched for a class with no lock held.
#[derive(Debug, Default)]
struct Supply {
    frame: Option<Frame>,
    record: Option<ZspageId>,
}

/// What a class gave up under its lock: to be passed to [`Pool::give_back`] when it is released.
#[derive(Debug, Default)]
#[must_use = "frames and a record that are dropped are lost"]
pub(crate) struct Released {
    pub(crate) frames: [Option<Frame>; 2],
    /// The zspage that was closed, if one was: its record is given up too.
    pub(crate) closed: Option<ZspageId>,
}

impl Released {
    /// How many frames.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.iter().flatten().count() as u64
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Takes a slot of `class` for the object of word `index` with `len` bytes.
    ///
    /// `publish` makes the place known, by a compare-and-swap on the word, before the class lock is
    /// released; if it answers false the slot is cleared again and the answer is Busy.
    pub(crate) fn take_slot(
        &self,
        class: ClassIndex,
        index: WordIndex,
        len: usize,
        mut publish: impl FnMut(Place) -> bool,
    ) -> Result<Place, Error> {
        let context = self.context(class);
        let mut supply = Supply::default();
        let mut released = Released::default();
        let outcome = loop {
            let mut state = self.lock_class(class);
            match self.find_slot(&mut state, context, class, &mut supply) {
                Ok((zspage, slot)) => {
                    self.occupy(&mut state, context, zspage, slot, index, len);
                    let slack = context.class.size - len as u32;
                    let place = Place {
                        zspage,
                        slot,
                        slack,
                    };
                    if publish(place) {
                        break Ok(place);
                    }
                    released = self.clear_slot(&mut state, class, place);
                    break Err(Error::Busy);
                }
                Err(lack) => {
                    drop(state);
                    if let Err(error) = self.fetch(&mut supply, context, lack) {
                        break Err(error);
                    }
                }
            }
        };
        self.give_back(class, released);
        self.return_supply(supply, context);
        outcome
    }

    /// A free slot of the class whose frames are attached: of the fullest zspage with room, or by
    /// attaching what was fetched; or what is lacking.
    fn find_slot(
        &self,
        state: &mut ClassState,
        context: ClassContext<'_>,
        class: ClassIndex,
        supply: &mut Supply,
    ) -> Result<(ZspageId, SlotIndex), Lack> {
        let found = |zspage| Ok((zspage, lowest_free(context, zspage)));
        if let Some(zspage) = state.fullest_with_room() {
            return found(zspage);
        }
        let extendable = state.extendable();
        let record = match (extendable, supply.record) {
            (Some(zspage), _) => zspage,
            (None, Some(record)) => record,
            (None, None) => return Err(Lack::FrameAndRecord),
        };
        let frame = supply.frame.take().ok_or(Lack::Frame)?;
        if extendable.is_none() {
            supply.record = None;
            self.open_zspage(state, context, class, record, frame);
        } else {
            let entry = self.entry_to_attach(context, record);
            self.attach(state, context, record, entry, frame);
        }
        found(record)
    }

    /// Opens a zspage with its first frame.
    pub(crate) fn open_zspage(
        &self,
        state: &mut ClassState,
        context: ClassContext<'_>,
        class: ClassIndex,
        record: ZspageId,
        frame: Frame,
    ) {
        context.record(record).open(class);
        state.list_new(context, record);
        self.attach(state, context, record, EntryIndex::new(0), frame);
    }

    pub(crate) fn attach(
        &self,
        state: &mut ClassState,
        context: ClassContext<'_>,
        zspage: ZspageId,
        entry: EntryIndex,
        frame: Frame,
    ) {
        let owner = self.frame_owner(context, zspage, entry);
        let id = self.arena().assign(frame, self.key(), owner);
        state.change(context, zspage, |state, record| {
            record.attach(entry, id);
            state.frames += 1;
        });
    }

    /// The absent frame of a zspage without room that gives it one more slot: that of the lowest slot
    /// which lacks but one.
    #[expect(
        clippy::expect_used,
        reason = "by geometry; a unit test looks at every boundary"
    )]
    fn entry_to_attach(&self, context: ClassContext<'_>, zspage: ZspageId) -> EntryIndex {
        let extended = self.slot_to_extend(context, zspage);
        extended.expect("a slot that lacks one frame").1
    }

    /// The lowest slot that lacks one frame, and the entry of that frame; `None` if the zspage is whole.
    ///
    /// Otherwise there always is such a slot. With no frame attached, the first slot lies in the first
    /// frame. With some, an attached and an absent frame are neighbours: either a slot spans their
    /// boundary, and lacks the absent one alone; or none does, and the slot that touches the boundary
    /// from the absent side, being no longer than a frame, lies in that frame alone.
    pub(crate) fn slot_to_extend(
        &self,
        context: ClassContext<'_>,
        zspage: ZspageId,
    ) -> Option<(SlotIndex, EntryIndex)> {
        let record = context.record(zspage);
        if record.is_whole() {
            return None;
        }
        let (attached, unusable) = (record.attached(), !record.usable());
        let slots = u128::MAX >> (MAX_SLOTS - context.class.slots as usize);
        SlotIndex::of_set(slots & unusable).find_map(|slot| {
            let (first, last) = self.geometry.frames_of_slot(context.class, slot);
            let missing = (first.bit() | last.bit()) & !attached;
            EntryIndex::only(missing).map(|entry| (slot, entry))
        })
    }

    pub(crate) fn occupy(
        &self,
        state: &mut ClassState,
        context: ClassContext<'_>,
        zspage: ZspageId,
        slot: SlotIndex,
        index: WordIndex,
        len: usize,
    ) {
        state.change(context, zspage, |state, record| {
            record.take(slot, index);
            state.objects += 1;
            state.payload += len as u64;
            let (first, last) = self.geometry.frames_of_slot(context.class, slot);
            let touched = |spare: &FrameEntry| {
                spare.zspage == zspage && (first..=last).contains(&spare.entry)
            };
            state.spare = state.spare.filter(|spare| !touched(spare));
        });
    }

    /// Clears the slot of an object whose word no longer leads there, and detaches the frames that
    /// nothing touches any more, but for one that the class keeps back.
    pub(crate) fn clear_slot(
        &self,
        state: &mut ClassState,
        class: ClassIndex,
        place: Place,
    ) -> Released {
        let context = self.context(class);
        let zspage = place.zspage;
        let (first, last) = self.geometry.frames_of_slot(context.class, place.slot);
        state.change(context, zspage, |state, record| {
            record.clear(place.slot);
            state.objects -= 1;
            state.payload -= u64::from(context.class.size - place.slack);
        });
        let mut released = Released::default();
        for entry in EntryIndex::range(first, last) {
            let touching = self.geometry.slots_of_frame(context.class, entry);
            let record = context.record(zspage);
            // A frame that is on its way is given up by whoever moves it.
            if record.used() & touching != 0 || record.frame_state(entry) != FrameState::Attached {
                continue;
            }
            if state.spare.is_none() {
                state.spare = Some(FrameEntry { zspage, entry });
            } else {
                let detached = self.detach(state, context, zspage, entry);
                released.frames[entry.index() - first.index()] = detached;
            }
        }
        released.closed = self.close_if_bare(state, context, zspage);
        released
    }

    /// Takes back the frame that the class keeps although nothing touches it.
    pub(crate) fn release_spare(&self, state: &mut ClassState, class: ClassIndex) -> Released {
        let context = self.context(class);
        let Some(spare) = state.spare.take() else {
            return Released::default();
        };
        let detached = self.detach(state, context, spare.zspage, spare.entry);
        Released {
            frames: [detached, None],
            closed: self.close_if_bare(state, context, spare.zspage),
        }
    }

    /// Detaches a frame, and takes it back from the zspage: both under the class lock, so that a frame's
    /// owner and its zspage's entry agree there.
    pub(crate) fn detach(
        &self,
        state: &mut ClassState,
        context: ClassContext<'_>,
        zspage: ZspageId,
        entry: EntryIndex,
    ) -> Option<Frame> {
        state.change(context, zspage, |state, record| {
            let frame = record.detach(entry)?;
            state.frames -= 1;
            let owner = self.frame_owner(context, zspage, entry);
            let frame = self.arena().reclaim(frame, self.key(), owner);
            debug_assert!(frame.is_some(), "a detached frame was the zspage's");
            frame
        })
    }

    /// How the frames of a zspage name their owner.
    pub(crate) fn frame_owner(
        &self,
        context: ClassContext<'_>,
        zspage: ZspageId,
        entry: EntryIndex,
    ) -> FrameOwner {
        let (class, zspage) = (context.index.number(), zspage.number());
        self.key().owner(class, zspage, entry.number())
    }

    /// Closes a zspage without any frame; returns it then: its record is the caller's to free.
    pub(crate) fn close_if_bare(
        &self,
        state: &mut ClassState,
        context: ClassContext<'_>,
        zspage: ZspageId,
    ) -> Option<ZspageId> {
        let record = context.record(zspage);
        if record.attached() != 0 {
            return None;
        }
        state.unlist(context, zspage);
        record.close();
        Some(zspage)
    }

    /// Fetches what a class lacks, with no lock held.
    fn fetch(
        &self,
        supply: &mut Supply,
        context: ClassContext<'_>,
        lack: Lack,
    ) -> Result<(), Error> {
        if matches!(lack, Lack::FrameAndRecord) && supply.record.is_none() {
            let units = units_of(context.class);
            let alloc = || {
                self.record_alloc
                    .alloc(self.arena(), &self.records.cells, units)
            };
            supply.record = Some(self.or_without_spares(alloc)?);
        }
        if supply.frame.is_none() {
            supply.frame = Some(self.or_without_spares(|| self.arena().alloc_frame())?);
        }
        Ok(())
    }

    /// Tries once more after giving up the frames that classes keep back.
    fn or_without_spares<T>(
        &self,
        attempt: impl Fn() -> Result<T, zs_mm::Error>,
    ) -> Result<T, Error> {
        attempt().or_else(|_| {
            self.drain_old_frames();
            self.release_spares();
            Ok(attempt()?)
        })
    }

    fn return_supply(&self, supply: Supply, context: ClassContext<'_>) {
        if let Some(frame) = supply.frame {
            self.arena().free_frame(frame);
        }
        if let Some(record) = supply.record {
            self.free_record(record, context);
        }
    }

    /// Gives a record back that no zspage was opened in.
    pub(crate) fn free_record(&self, record: ZspageId, context: ClassContext<'_>) {
        let units = units_of(context.class);
        self.record_alloc.free(self.host(), record, units);
    }
}

#[expect(clippy::expect_used, reason = "it was found with room")]
fn lowest_free(context: ClassContext<'_>, zspage: ZspageId) -> SlotIndex {
    let record = context.record(zspage);
    let free = SlotIndex::lowest(record.usable() & !record.used());
    free.expect("a zspage with room has a free slot")
}
