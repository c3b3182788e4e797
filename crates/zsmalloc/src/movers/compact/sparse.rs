//! The zspages of a class worth moving from and to.
//!
//! class lists -> (the lowest with room, the sparsest) -> source and destination of the next move

use super::smallest::Smallest;
use crate::class::{ClassContext, ClosedSet, Cursor};
use crate::client::Client;
use crate::geometry::{Geometry, SizeClass};
use crate::ids::as_index;
use crate::ids::{ClassIndex, SlotIndex, ZspageId};
use crate::pool::Pool;
use crate::record::Record;
use core::cmp::Reverse;
use zs_mm::ArenaRef;

/// Zspages that are looked at in one hold of the class lock.
const LOOK_AT: usize = 64;
/// Zspages that are looked at in all: of a class with more, only so many are known at a time.
const LOOK_AT_MOST: usize = 4096;

/// Moves of one hold of the class lock.
pub(super) const MOVES: usize = if cfg!(zs_loom) { 2 } else { 32 };
/// Bytes that are copied between two holds, if it is more than one object: others may be waiting
/// for the pins.
pub(super) const BYTES: usize = 128 << 10;
/// A zspage whose objects fill at most so many frames is not worth a record of its own.
pub(super) const FEW_FRAMES: usize = 4;

/// Zspages in the order in which they are emptied: the fewest objects first, as each is a move;
/// then the most frames, and the highest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Sparseness {
    objects: u32,
    frames: Reverse<u32>,
    zspage: Reverse<ZspageId>,
}

/// Zspages in the order in which they are filled where the lowest will not do: the most objects
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Fullness {
    objects: Reverse<u32>,
    zspage: ZspageId,
}

/// A zspage that is being emptied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) zspage: ZspageId,
    /// Slots whose objects were not looked at yet.
    left: u128,
    /// Nothing else has room: its objects go to lower slots of its own.
    pub(super) packed: bool,
}

/// Where objects come from and go to, as known when the class was last looked at.
#[derive(Debug)]
pub(super) struct SparseZspages {
    /// Zspages with room or with a frame missing, by number.
    room: Smallest<ZspageId>,
    /// Such zspages by objects, where the lowest are but a part of them.
    fullest: Smallest<Fullness>,
    /// Those with objects, each once.
    sparsest: Smallest<Sparseness>,
    /// The last of the sparsest, if there may be more beyond it.
    beyond: Option<Sparseness>,
    /// These are all there are: the last one may be packed.
    complete: bool,
    /// The lock was released since the looking began: zspages may be met twice.
    met_before: bool,
    /// Some of them may have been closed by others, and were forgotten.
    forgot: bool,
    /// The zspage that objects were moved to last.
    filled: Option<ZspageId>,
    /// All of one zspage goes to a new one.
    lowering: bool,
    /// Frames may be attached to make room.
    extend: bool,
    source: Option<Source>,
}

impl SparseZspages {
    fn new() -> Self {
        Self {
            room: Smallest::new(),
            fullest: Smallest::new(),
            sparsest: Smallest::new(),
            beyond: None,
            complete: true,
            met_before: false,
            forgot: false,
            filled: None,
            lowering: false,
            extend: true,
            source: None,
        }
    }

    /// Takes one zspage, to be moved to another, which is empty.
    pub(super) fn pair(from: ZspageId, to: ZspageId) -> Self {
        let mut pair = Self::new();
        pair.room.add(to);
        pair.source = Some(Source {
            zspage: from,
            left: u128::MAX,
            packed: false,
        });
        pair.lowering = true;
        pair
    }

    /// Forgets what others may have closed since it was looked for.
    pub(super) fn forget(&mut self, closed: ClosedSet) {
        let before = (self.room.len(), self.sparsest.len(), self.source.is_some());
        self.room.remove(|&zspage| closed.may_contain(zspage));
        self.fullest
            .remove(|other| closed.may_contain(other.zspage));
        self.sparsest
            .remove(|other| closed.may_contain(other.zspage.0));
        self.source = self
            .source
            .filter(|source| !closed.may_contain(source.zspage));
        if before != (self.room.len(), self.sparsest.len(), self.source.is_some()) {
            self.complete = false;
            self.forgot = true;
        }
    }

    /// Says whether something was forgotten: there may be more to move if one looks again.
    pub(super) fn forgot(&self) -> bool {
        self.forgot
    }

    /// Forgets a zspage that the compactor itself has closed.
    pub(super) fn closed(&mut self, zspage: ZspageId) {
        self.room.remove(|&other| other == zspage);
        self.fullest.remove(|other| other.zspage == zspage);
        self.sparsest.remove(|other| other.zspage.0 == zspage);
        self.source = self.source.filter(|source| source.zspage != zspage);
    }

    /// Notes that there is no frame to attach.
    pub(super) fn extend_no_more(&mut self) {
        self.extend = false;
    }

    pub(super) fn may_extend(&self) -> bool {
        self.extend
    }

    /// Returns the zspage to move from, with the highest slot not looked at yet, and the zspage to
    /// move to; the same if an only one is to be packed. Unless frames can be won, only from
    /// zspages that are nearly empty, to win their records.
    pub(super) fn next(
        &mut self,
        context: ClassContext<'_>,
        frames_to_win: bool,
    ) -> Option<(Source, SlotIndex, ZspageId)> {
        loop {
            let source = match self.source {
                Some(source) => source,
                None => self.next_source(context)?,
            };
            let record = context.record(source.zspage);
            let few = || is_nearly_empty(context, record.summary().used);
            let worth = self.lowering || frames_to_win || (few() && !source.packed);
            let left = source.left & record.used();
            let slot = SlotIndex::highest(left);
            if let Some(slot) = slot.filter(|_| worth) {
                if let Some(destination) = self.destination(context, &source) {
                    return Some((source, slot, destination));
                }
                if !self.complete || self.lowering {
                    return None;
                }
                // No other zspage takes its objects in.
                self.source = Some(Source {
                    packed: true,
                    ..source
                });
                continue;
            }
            self.source = None;
        }
    }

    /// Returns the lowest zspage with room and no fewer objects than the source: so with every move
    /// the fuller gets fuller, and moves come to an end, however they are budgeted. Where the
    /// lowest are all emptier than that, one of the fullest.
    fn destination(&mut self, context: ClassContext<'_>, source: &Source) -> Option<ZspageId> {
        if source.packed {
            return Some(source.zspage);
        }
        let objects = |zspage: ZspageId| context.record(zspage).summary().used;
        let least = if self.lowering {
            0
        } else {
            objects(source.zspage)
        };
        let lowest = self.room.iter();
        let fullest = self.fullest.iter();
        let destination = lowest
            .chain(fullest.map(|fullest| fullest.zspage))
            .find(|&other| other != source.zspage && objects(other) >= least)?;
        if self.filled != Some(destination) {
            // What has taken objects in is not emptied again.
            self.sparsest.remove(|other| other.zspage.0 == destination);
            self.filled = Some(destination);
        }
        Some(destination)
    }

    fn next_source(&mut self, context: ClassContext<'_>) -> Option<Source> {
        let sparsest = self.sparsest.first().map(|sparsest| sparsest.zspage.0);
        // When no other is left, the one that took objects in last is packed.
        let zspage = sparsest.or_else(|| self.room.first())?;
        self.sparsest.remove(|other| other.zspage.0 == zspage);
        self.room.remove(|&other| other == zspage);
        self.fullest.remove(|other| other.zspage == zspage);
        let packed = sparsest.is_none() || self.room.first().is_none();
        if packed && !self.complete {
            return None;
        }
        self.source = Some(Source {
            zspage,
            left: context.record(zspage).used(),
            packed,
        });
        self.source
    }

    /// Notes that a slot of the source has been looked at.
    pub(super) fn looked_at(&mut self, slot: SlotIndex) {
        if let Some(source) = &mut self.source {
            source.left &= !slot.bit();
        }
    }

    /// Notes that a destination takes nothing more in.
    pub(super) fn full(&mut self, zspage: ZspageId) {
        self.room.remove(|&other| other == zspage);
        self.fullest.remove(|other| other.zspage == zspage);
        self.source = self
            .source
            .filter(|source| !source.packed || source.zspage != zspage);
    }

    fn add(&mut self, zspage: ZspageId, record: Record<'_>, beyond: Option<Sparseness>) {
        let summary = record.summary();
        self.complete &= !self.room.is_full();
        self.room.add(zspage);
        if self.met_before {
            // One that changed since it was met is remembered as it is now.
            self.sparsest.remove(|other| other.zspage.0 == zspage);
            self.fullest.remove(|other| other.zspage == zspage);
        }
        self.fullest.add(Fullness {
            objects: Reverse(summary.used),
            zspage,
        });
        let sparseness = Sparseness {
            objects: summary.used,
            frames: Reverse(summary.attached.count_ones()),
            zspage: Reverse(zspage),
        };
        if summary.used > 0 && beyond.is_none_or(|beyond| sparseness > beyond) {
            self.sparsest.add(sparseness);
        }
    }

    /// Ends the looking.
    fn ready(mut self, beyond: Option<Sparseness>, looked_at_all: bool) -> Self {
        self.beyond = self.sparsest.last_if_full();
        self.complete &= looked_at_all && beyond.is_none();
        self
    }

    /// Returns the last of those that were remembered, if there may be more beyond it.
    pub(super) fn beyond(&self) -> Option<Sparseness> {
        self.beyond
    }
}

/// Says whether the objects would fit a few frames: so few are moved to win no more than their
/// record.
fn is_nearly_empty(context: ClassContext<'_>, used: u32) -> bool {
    let bytes = as_index(used) * as_index(context.class.size);
    bytes <= FEW_FRAMES * context.records.geometry.page_size().bytes()
}

/// Says whether one batch takes them all.
fn fit_a_batch(context: ClassContext<'_>, used: u32) -> bool {
    let bytes = as_index(used) * as_index(context.class.size);
    as_index(used) <= MOVES && (used == 1 || bytes <= BYTES)
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Looks for the zspages of a class to move objects from and to. A zspage is emptied only if it
    /// comes after `beyond` in the order of emptying.
    pub(super) fn sparse_zspages(
        &self,
        class: ClassIndex,
        beyond: Option<Sparseness>,
    ) -> SparseZspages {
        let context = self.context(class);
        let mut sparse = SparseZspages::new();
        let mut cursor = Cursor::sparse();
        for hold in 0..LOOK_AT_MOST / LOOK_AT {
            let mut locked = self.lock_class(class);
            if hold == 0 {
                // There is one compactor: nobody else relies on it.
                locked.begin_looking();
            }
            sparse.met_before = hold > 0;
            if cursor.may_be_lost(locked.closed()) {
                cursor = Cursor::sparse();
            }
            for _ in 0..LOOK_AT {
                let Some(zspage) = locked.next(&mut cursor) else {
                    return sparse.ready(beyond, true);
                };
                sparse.add(zspage, context.record(zspage), beyond);
            }
        }
        sparse.ready(beyond, false)
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Returns the zspages of a class with few frames' worth of objects, and how many those are,
    /// full ones among them, the highest first.
    pub(super) fn small_zspages(
        &self,
        class: ClassIndex,
    ) -> impl Iterator<Item = (ZspageId, u64)> + use<A, C> {
        let context = self.context(class);
        let mut highest = Smallest::new();
        let mut cursor = Cursor::all();
        let mut locked = self.lock_class(class);
        locked.begin_looking();
        for _ in 0..LOOK_AT {
            let Some(zspage) = locked.next(&mut cursor) else {
                break;
            };
            let used = context.record(zspage).summary().used;
            if used > 0 && is_nearly_empty(context, used) && fit_a_batch(context, used) {
                highest.add((Reverse(zspage), used));
            }
        }
        highest
            .into_iter()
            .map(|(Reverse(zspage), used)| (zspage, u64::from(used)))
    }
}

/// Returns the fewest frames that `objects` objects of a class lie in.
pub(super) fn frames_needed(geometry: &Geometry, class: SizeClass, objects: u64) -> u64 {
    let (full, rest) = (
        objects / u64::from(class.slots),
        (objects % u64::from(class.slots)) as u8,
    );
    let partial = match rest.checked_sub(1) {
        Some(last) => {
            let (_, entry) = geometry.frames_of_slot(class, SlotIndex::new(last));
            u64::from(entry.number()) + 1
        }
        None => 0,
    };
    full * u64::from(class.chain) + partial
}
