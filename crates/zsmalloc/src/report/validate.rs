//! Whether it adds up: everything recounted from the words.

use crate::class::{ClassContext, LockedClass};
use crate::client::Client;
use crate::ids::as_index;
use crate::ids::wide;
use crate::ids::{ClassIndex, EntryIndex, Link, SlotIndex, WordIndex, ZspageId};
use crate::pool::Pool;
use crate::pool::drains::Drain;
use crate::record::{FrameState, Record, units_of};
use crate::word::{State, Word};
use core::fmt;
use zs_mm::{ArenaRef, Descriptor};
use zs_sync::Ordering;

/// The first fault that [`Pool::validate`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// A word leads to no zspage in use, or to a slot that is not its own.
    Word {
        /// The word.
        index: WordIndex,
        /// The fault of its place.
        what: &'static str,
    },
    /// A zspage contradicts its entries, descriptors or lists.
    Zspage {
        /// The zspage.
        zspage: ZspageId,
        /// The rule that is broken.
        what: &'static str,
    },
    /// The client's own structures contradict each other.
    Client(&'static str),
    /// The allocator of zspage records contradicts itself.
    Records(&'static str),
    /// A counter differs from what was counted.
    Counter {
        /// The class, or `None` for the whole pool.
        class: Option<ClassIndex>,
        /// The name of the counter.
        what: &'static str,
        /// The recorded value.
        recorded: u64,
        /// The counted value.
        found: u64,
    },
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word { index, what } => write!(f, "word {index}: {what}"),
            Self::Client(what) | Self::Records(what) => f.write_str(what),
            Self::Zspage { zspage, what } => write!(f, "zspage {zspage}: {what}"),
            Self::Counter {
                class,
                what,
                recorded,
                found,
            } => {
                match class {
                    Some(class) => write!(f, "class {class}, ")?,
                    None => f.write_str("the pool, ")?,
                }
                write!(f, "{what}: recorded {recorded}, found {found}")
            }
        }
    }
}

impl core::error::Error for Invalid {}

/// The counts of a walk over one class.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    used: u64,
    usable: u64,
    frames: u64,
    empty_frames: u64,
    isolated: u64,
    draining: u64,
    units: u64,
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Recounts every counter, bitmap, list and back reference of the pool, from the words and
    /// entries up, and names the first that is wrong.
    /// ([`Arena::validate`](zs_mm::Arena::validate) does the frames; a frame that nobody owns
    /// any more shows in the arena's `in_use` alone.)
    ///
    /// For tests and diagnosis: call it while no other thread uses the pool and no replace is under
    /// way, else a change in progress may be taken for an error. Walks all words and zspages.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut objects = [0_u64; crate::CLASSES];
        let mut payload = [0_u64; crate::CLASSES];
        for index in (0..self.client.words()).map(WordIndex::new) {
            if let Some((class, len)) = self.validate_word(index)? {
                objects[class.index()] += 1;
                payload[class.index()] += len;
            }
        }
        let (mut units, mut isolated, mut draining) = (0, 0, 0);
        for class in ClassIndex::all() {
            let locked = self.lock_class(class);
            let count = self.validate_class(class, &locked)?;
            units += count.units;
            isolated += count.isolated;
            draining += count.draining;
            let counters = [
                // Each word owns its slot (`validate_word`), so equal numbers mean that each
                // used slot has its word.
                ("slots in use", count.used, objects[class.index()]),
                ("objects", locked.objects(), objects[class.index()]),
                ("payload bytes", locked.payload(), payload[class.index()]),
                ("usable slots", locked.usable(), count.usable),
                ("frames", locked.frames().into(), count.frames),
                (
                    "frames kept back",
                    u64::from(locked.has_spare()),
                    count.empty_frames,
                ),
            ];
            for (what, recorded, found) in counters {
                check(Some(class), what, recorded, found)?;
            }
        }
        self.validate_drains(isolated, draining)?;
        self.client
            .validate(self.arena())
            .map_err(Invalid::Client)?;
        self.records
            .units
            .validate(self.host(), units)
            .map_err(Invalid::Records)
    }

    /// Checks one word against its zspage; returns its class and length if it holds an object.
    fn validate_word(&self, index: WordIndex) -> Result<Option<(ClassIndex, u64)>, Invalid> {
        let Some(cell) = self.cell(index) else {
            return Ok(None);
        };
        let wrong = |what| Err(Invalid::Word { index, what });
        // Relaxed: nobody else is at work.
        let word = Word(cell.load(Ordering::Relaxed));
        if !word.has_place() {
            return Ok(None);
        }
        match word.state() {
            State::Filling | State::Exclusive => return wrong("an insert or write never ended"),
            _ if word.is_abandoned() => return wrong("a free never ended"),
            _ if word.has_mover() => return wrong("a move never ended"),
            _ => {}
        }
        let place = word.place(&self.layout);
        let Some(class) = self.records.class_of(place.zspage) else {
            return wrong("its zspage is not in use");
        };
        let context = self.context(class);
        let record = context.record(place.zspage);
        if place.slot.number() >= context.class.slots {
            return wrong("its slot is beyond the zspage");
        }
        if record.used() & place.slot.bit() == 0 {
            return wrong("its slot is free");
        }
        if record.back_reference(place.slot) != Some(index) {
            return wrong("its slot refers to another word");
        }
        let len = u64::from(context.class.size - place.slack);
        if self.geometry.lookup(as_index(len)) != Some(class) {
            return wrong("its length belongs to another class");
        }
        Ok(Some((class, len)))
    }

    fn validate_class(
        &self,
        class: ClassIndex,
        locked: &LockedClass<'_, A::Backing>,
    ) -> Result<Count, Invalid> {
        let context = self.context(class);
        let mut count = Count::default();
        let listed = |link: Link| Invalid::Zspage {
            zspage: link.zspage().unwrap_or_default(),
            what: "its lists are broken",
        };
        let visit = |zspage, record: Record<'_>| {
            self.validate_zspage(class, context, zspage, record, &mut count)
        };
        locked.walk(visit, listed)?;
        if let Some((zspage, entry)) = locked.spare() {
            let record = context.record(zspage);
            let touching = context.slots_of_frame(entry);
            if record.frame(entry).is_none() || record.used() & touching != 0 {
                let what = "its spare frame is in use or absent";
                return Err(Invalid::Zspage { zspage, what });
            }
        }
        Ok(count)
    }

    fn validate_zspage(
        &self,
        class: ClassIndex,
        context: ClassContext<'_>,
        zspage: ZspageId,
        record: Record<'_>,
        count: &mut Count,
    ) -> Result<(), Invalid> {
        let wrong = |what| Err(Invalid::Zspage { zspage, what });
        if self.records.class_of(zspage) != Some(class) {
            return wrong("its record is not of its class");
        }
        if record.usable() != record.slots_with_frames() {
            return wrong("its usable slots are not those with frames");
        }
        if record.used() & !record.usable() != 0 {
            return wrong("a slot in use lacks a frame");
        }
        if record.summary() != record.recount() {
            return wrong("its summary is not what its slots and entries are");
        }
        if record.attached() == 0 {
            return wrong("it has no frame");
        }
        for slot in SlotIndex::of_class(context.class.slots) {
            let in_use = record.used() & slot.bit() != 0;
            if in_use != record.back_reference(slot).is_some() {
                return wrong("slots in use and back references differ");
            }
        }
        let isolated_before = count.isolated;
        for entry in EntryIndex::of_chain(context.class.chain) {
            if let Err(what) = self.validate_entry(context, zspage, entry, count) {
                return wrong(what);
            }
        }
        if u64::from(record.isolated()) != count.isolated - isolated_before {
            return wrong("it does not count its isolated entries");
        }
        count.used += u64::from(record.used().count_ones());
        count.usable += u64::from(record.usable().count_ones());
        let units = units_of(context.class);
        if !self.records.units.is_in_use(zspage, units) {
            return wrong("its record's units are free");
        }
        count.units += wide(units);
        Ok(())
    }

    /// Checks one entry of a zspage against the descriptor of its frame.
    fn validate_entry(
        &self,
        context: ClassContext<'_>,
        zspage: ZspageId,
        entry: EntryIndex,
        count: &mut Count,
    ) -> Result<(), &'static str> {
        let record = context.record(zspage);
        let Some(frame) = record.frame(entry) else {
            return Ok(());
        };
        let descriptor = self.arena().frame_descriptor(frame);
        let descriptor = descriptor.unwrap_or(Descriptor::FREE);
        let owned = Descriptor::owned(context.owner(self.key(), zspage, entry));
        if descriptor.at_rest() != owned {
            return Err("the descriptor of a frame names another owner");
        }
        let state = record.frame_state(entry);
        if descriptor.is_isolated() != (state == FrameState::Isolated) {
            return Err("an entry and its frame's descriptor differ on isolation");
        }
        let touching = context.slots_of_frame(entry);
        let is_bare = record.used() & touching == 0;
        count.frames += 1;
        count.isolated += u64::from(state == FrameState::Isolated);
        count.draining += u64::from(state == FrameState::Draining);
        // What nothing touches any more of other entries is given up by whoever moves them.
        count.empty_frames += u64::from(is_bare && state == FrameState::Attached);
        Ok(())
    }

    /// Checks the list of draining frames against the entries: each draining one has its row and
    /// old frame, each isolated one its promise.
    fn validate_drains(&self, isolated: u64, draining: u64) -> Result<(), Invalid> {
        let (rows, promised) = self.drains.len(self.host());
        check(None, "promised rows", wide(promised), isolated)?;
        check(None, "draining frames", wide(rows), draining)?;
        for at in 0..rows {
            let drain = self.drains.row(at);
            let wrong = |what| {
                let zspage = drain.zspage;
                Err(Invalid::Zspage { zspage, what })
            };
            let Some(class) = self.records.class_of(drain.zspage) else {
                return wrong("a frame of it drains, but it is not in use");
            };
            let (context, entry) = (self.context(class), drain.entry);
            if context.record(drain.zspage).frame_state(entry) != FrameState::Draining {
                return wrong("the entry of a frame that drains does not");
            }
            let owner = context.owner(self.key(), drain.zspage, entry);
            let found = self.arena().frame_descriptor(drain.frame);
            if found.map(Descriptor::at_rest) != Some(Descriptor::draining(owner)) {
                return wrong("the descriptor of a frame that drains names another owner");
            }
            let same = |other: Drain| (other.zspage, other.entry) == (drain.zspage, drain.entry);
            if (0..at).any(|before| same(self.drains.row(before))) {
                return wrong("two frames drain for one entry");
            }
        }
        Ok(())
    }
}

fn check(
    class: Option<ClassIndex>,
    what: &'static str,
    recorded: u64,
    found: u64,
) -> Result<(), Invalid> {
    if recorded == found {
        return Ok(());
    }
    Err(Invalid::Counter {
        class,
        what,
        recorded,
        found,
    })
}
