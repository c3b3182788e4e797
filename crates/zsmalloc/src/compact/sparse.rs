//! The zspages of a class worth moving from and to.
//!
//! class lists -> (the lowest with room, the sparsest) -> source and destination of the next move

use crate::class::{ClassContext, Cursor};
use crate::client::Client;
use crate::pool::Pool;
use crate::record::Record;
use core::cmp::Reverse;
use zs_mm::ArenaRef;

/// Zspages that are remembered at a time, of each kind.
const WINDOW: usize = if cfg!(zs_loom) { 4 } else { 64 };
/// Zspages that are looked at in one hold of the class lock.
const LOOK_AT: usize = 64;
/// Zspages that are looked at in all: of a class with more, only so many are known at a time.
const LOOK_AT_MOST: usize = 4096;

/// What is not worth a record of its own.
const FEW_FRAMES: usize = 4;

/// The smallest few of many values, ascending.
#[derive(Debug)]
struct Smallest<T> {
    values: [T; WINDOW],
    len: usize,
}

impl<T: Copy + Ord + Default> Smallest<T> {
    fn new() -> Self {
        Self {
            values: [T::default(); WINDOW],
            len: 0,
        }
    }

    /// Adds a value that is not there yet; the largest goes if there are too many.
    fn add(&mut self, value: T) {
        let Err(at) = self.values[..self.len].binary_search(&value) else {
            return;
        };
        if at == WINDOW {
            return;
        }
        let end = (self.len + 1).min(WINDOW);
        self.values.copy_within(at..end - 1, at + 1);
        self.values[at] = value;
        self.len = end;
    }

    fn first(&self) -> Option<T> {
        self.values[..self.len].first().copied()
    }

    fn remove(&mut self, gone: impl Fn(&T) -> bool) {
        if let Some(at) = self.values[..self.len].iter().position(gone) {
            self.values.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }
}

/// A zspage that is being emptied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) zspage: u32,
    /// Slots whose objects were not looked at yet.
    left: u128,
    /// Nothing else has room: its objects go to lower slots of its own.
    pub(super) packed: bool,
}

/// Where objects come from and go to, as known when the class was last looked at.
#[derive(Debug)]
pub(super) struct SparseZspages {
    /// As many zspages as the class had closed: as long as that is so, all these are open.
    closed: u64,
    /// Zspages with room or with a frame missing, by number.
    room: Smallest<u32>,
    /// Those with objects, by objects for each frame, by objects, and the highest number first.
    sparsest: Smallest<(u32, u32, Reverse<u32>)>,
    /// There are more than are remembered.
    truncated: bool,
    /// The zspage that objects were moved to last.
    filled: Option<u32>,
    /// Whether frames may be attached to make room.
    extend: bool,
    source: Option<Source>,
}

impl SparseZspages {
    fn new(closed: u64) -> Self {
        Self {
            closed,
            room: Smallest::new(),
            sparsest: Smallest::new(),
            truncated: false,
            filled: None,
            extend: true,
            source: None,
        }
    }

    /// One zspage to be moved to another, which is empty.
    pub(super) fn pair(closed: u64, from: u32, to: u32) -> Self {
        let mut pair = Self::new(closed);
        pair.room.add(to);
        pair.source = Some(Source {
            zspage: from,
            left: u128::MAX,
            packed: false,
        });
        // It is moved as a whole or not at all, never packed.
        pair.truncated = true;
        pair
    }

    /// How many zspages the class has closed, if nobody else closed one.
    pub(super) fn closed_so_far(&self) -> u64 {
        self.closed
    }

    /// Whether every zspage that is remembered is still open, given that the class has closed so many.
    pub(super) fn are_open(&self, closed: u64) -> bool {
        self.closed == closed
    }

    /// A zspage was closed by the compactor itself.
    pub(super) fn closed(&mut self, zspage: u32) {
        self.closed += 1;
        self.room.remove(|&other| other == zspage);
        self.sparsest.remove(|other| other.2.0 == zspage);
        self.source = self.source.filter(|source| source.zspage != zspage);
    }

    /// There is no frame to attach.
    pub(super) fn extend_no_more(&mut self) {
        self.extend = false;
    }

    pub(super) fn may_extend(&self) -> bool {
        self.extend
    }

    /// The zspage to move from, with the highest slot not looked at yet, and the zspage to move to;
    /// the same if an only one is to be packed. Unless frames can be won, only from zspages that are
    /// nearly empty, to win their records.
    pub(super) fn next(
        &mut self,
        context: ClassContext<'_>,
        frames_to_win: bool,
    ) -> Option<(Source, usize, u32)> {
        loop {
            let source = match self.source {
                Some(source) => source,
                None => self.next_source(context)?,
            };
            let record = context.record(source.zspage);
            let few = || is_nearly_empty(context, record.summary().used);
            let worth = frames_to_win || (few() && !source.packed);
            let left = source.left & record.used();
            let slot = 127_usize.checked_sub(left.leading_zeros() as usize);
            if let Some(slot) = slot.filter(|_| worth) {
                if let Some(destination) = self.destination(context, &source) {
                    return Some((source, slot, destination));
                }
                if self.truncated {
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

    /// The lowest zspage with room; an empty one only if it is below the source, or objects would go to
    /// and fro.
    fn destination(&mut self, context: ClassContext<'_>, source: &Source) -> Option<u32> {
        if source.packed {
            return Some(source.zspage);
        }
        let mut room = self.room.values[..self.room.len].iter().copied();
        let destination =
            room.find(|&other| other < source.zspage || context.record(other).summary().used > 0)?;
        if self.filled != Some(destination) {
            // What has taken objects in is not emptied again.
            self.sparsest.remove(|other| other.2.0 == destination);
            self.filled = Some(destination);
        }
        Some(destination)
    }

    fn next_source(&mut self, context: ClassContext<'_>) -> Option<Source> {
        let sparsest = self.sparsest.first().map(|(.., Reverse(zspage))| zspage);
        // When no other is left, the one that took objects in last is packed.
        let zspage = sparsest.or_else(|| self.room.first())?;
        self.sparsest.remove(|other| other.2.0 == zspage);
        self.room.remove(|&other| other == zspage);
        let packed = sparsest.is_none() || self.room.first().is_none();
        if packed && self.truncated {
            return None;
        }
        self.source = Some(Source {
            zspage,
            left: context.record(zspage).used(),
            packed,
        });
        self.source
    }

    /// A slot of the source has been looked at.
    pub(super) fn looked_at(&mut self, slot: usize) {
        if let Some(source) = &mut self.source {
            source.left &= !(1 << slot);
        }
    }

    /// A destination takes nothing more in.
    pub(super) fn full(&mut self, zspage: u32) {
        self.room.remove(|&other| other == zspage);
        self.source = self
            .source
            .filter(|source| !source.packed || source.zspage != zspage);
    }

    fn add(&mut self, zspage: u32, record: Record<'_>) {
        let summary = record.summary();
        let (frames, objects) = (summary.attached.count_ones(), summary.used);
        self.truncated |= self.room.len == WINDOW;
        self.room.add(zspage);
        if objects > 0 {
            let density = objects * 256 / frames.max(1);
            self.sparsest.add((density, objects, Reverse(zspage)));
        }
    }
}

/// Whether the objects would fit a few frames: so few are moved to win no more than their record.
fn is_nearly_empty(context: ClassContext<'_>, used: u32) -> bool {
    let bytes = used as usize * context.class.size as usize;
    bytes <= FEW_FRAMES * context.records.geometry.page_size().bytes()
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Looks for zspages of a class that are neither full nor whole.
    pub(super) fn sparse_zspages(&self, class: usize) -> SparseZspages {
        let context = self.context(class);
        let mut sparse = SparseZspages::new(0);
        let mut cursor = Cursor::sparse();
        for _ in 0..LOOK_AT_MOST / LOOK_AT {
            let state = self.classes[class].lock(self.host());
            if !sparse.are_open(state.closed) {
                // What was remembered, the cursor too, may be gone: from the start.
                cursor = Cursor::sparse();
                sparse = SparseZspages::new(state.closed);
            }
            for _ in 0..LOOK_AT {
                let Some(zspage) = state.next(context, &mut cursor) else {
                    return sparse;
                };
                sparse.add(zspage, context.record(zspage));
            }
        }
        sparse.truncated = true;
        sparse
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Zspages of a class with few frames' worth of objects, full ones among them, the highest first;
    /// and how many zspages the class has closed: as long as that is so, these are open.
    pub(super) fn small_zspages(
        &self,
        class: usize,
    ) -> (u64, impl IntoIterator<Item = u32> + use<A, C>) {
        let context = self.context(class);
        let mut highest = Smallest::new();
        let mut cursor = Cursor::all();
        let state = self.classes[class].lock(self.host());
        for _ in 0..LOOK_AT {
            let Some(zspage) = state.next(context, &mut cursor) else {
                break;
            };
            let used = context.record(zspage).summary().used;
            if used > 0 && is_nearly_empty(context, used) {
                highest.add(Reverse(zspage));
            }
        }
        let Smallest { values, len } = highest;
        (
            state.closed,
            values.into_iter().take(len).map(|Reverse(zspage)| zspage),
        )
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_are_kept_in_order() {
        let mut smallest = Smallest::new();
        for value in (0..1000_u32).rev().chain(0..10) {
            smallest.add(value);
        }
        assert_eq!(smallest.len, WINDOW);
        assert!(smallest.values.iter().copied().eq(0..WINDOW as u32));
        smallest.remove(|&value| value == 0);
        smallest.remove(|&value| value == 63);
        smallest.remove(|&value| value == 1000);
        assert_eq!((smallest.first(), smallest.len), (Some(1), WINDOW - 2));
        smallest.add(5000);
        assert_eq!(smallest.values[smallest.len - 1], 5000);
    }
}
