//! A slot taken for an object.
//!
//! # Locking
//!
//! What a class lacks (a frame, a record) is fetched with no lock held, then the class is locked
//! again and everything looked at again: somebody may have made room meanwhile. What a class gives
//! up is handed out of its lock before the arena sees it.

use crate::class::{ClassContext, LockedClass, Released};
use crate::client::Client;
use crate::error::Error;
use crate::ids::{ClassIndex, SlotIndex, WordIndex, ZspageId};
use crate::pool::Pool;
use crate::record::units_of;
use crate::word::Place;
use zs_mm::{ArenaRef, Backing, Frame};

/// What a class lacks for one more slot. Never more than one frame: see `entry_to_attach`.
#[derive(Debug, Clone, Copy)]
enum Lack {
    Frame,
    FrameAndRecord,
}

/// A frame and a record, fetched for a class with no lock held.
#[derive(Debug, Default)]
struct Supply {
    frame: Option<Frame>,
    record: Option<ZspageId>,
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
            let mut locked = self.lock_class(class);
            match find_slot(&mut locked, &mut supply) {
                Ok((zspage, slot)) => {
                    locked.take(zspage, slot, index, len);
                    let slack = context.class.size - len as u32;
                    let place = Place {
                        zspage,
                        slot,
                        slack,
                    };
                    if publish(place) {
                        break Ok(place);
                    }
                    released = locked.clear(place);
                    break Err(Error::Busy);
                }
                Err(lack) => {
                    drop(locked);
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

    /// Fetches what a class lacks, with no lock held.
    fn fetch(
        &self,
        supply: &mut Supply,
        context: ClassContext<'_>,
        lack: Lack,
    ) -> Result<(), Error> {
        if matches!(lack, Lack::FrameAndRecord) && supply.record.is_none() {
            let units = units_of(context.class);
            let alloc = || self.records.units.alloc(self.arena(), units);
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
        self.records.units.free(self.host(), record, units);
    }
}

/// Finds a free slot of the class whose frames are attached: of the fullest zspage with room, or by
/// attaching what was fetched; or says what is lacking.
fn find_slot<B: Backing>(
    locked: &mut LockedClass<'_, B>,
    supply: &mut Supply,
) -> Result<(ZspageId, SlotIndex), Lack> {
    let context = locked.context();
    let found = |zspage| Ok((zspage, context.lowest_free(zspage)));
    if let Some(zspage) = locked.fullest_with_room() {
        return found(zspage);
    }
    let extendable = locked.extendable();
    let record = match (extendable, supply.record) {
        (Some(zspage), _) => zspage,
        (None, Some(record)) => record,
        (None, None) => return Err(Lack::FrameAndRecord),
    };
    let frame = supply.frame.take().ok_or(Lack::Frame)?;
    if extendable.is_none() {
        supply.record = None;
        locked.open(record, frame);
    } else {
        locked.attach(record, context.entry_to_attach(record), frame);
    }
    found(record)
}
