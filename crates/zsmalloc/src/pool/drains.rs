//! Frames that have been moved, and are still being read at their old place.
//!
//! frame moved with readers inside -> a row of the list -> each of its slots seen without readers
//! since -> old frame freed
//!
//! A row is three cells: the old frame, zspage and entry in one, and one bit for each slot that was
//! not seen without readers yet. So readers who come and go, each at the new place, hold nothing
//! up.
//!
//! # Locking
//!
//! One leaf lock (`Drains`). A row is taken out of the list while it is looked at, which takes its
//! class lock. Rows are promised before a frame is isolated: a move that is done cannot fail for
//! want of one.

use crate::ids::{EntryIndex, ZspageId};
use zs_mm::{Arena, Backing, Error, FrameId, MetaTable};
use zs_sync::{Guarded64, Host, LockName, Mutex};

/// The most frames of a pool that are isolated or drain at a time.
const MOST: usize = if cfg!(zs_loom) { 4 } else { 1 << 16 };
/// Cells of a row.
const CELLS: usize = 3;

const ZSPAGE_SHIFT: u32 = 28;
const ENTRY_SHIFT: u32 = 56;
const ID_MASK: u64 = (1 << ZSPAGE_SHIFT) - 1;

/// An old frame that is still being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drain {
    /// The old frame.
    pub(crate) frame: FrameId,
    /// Its former place.
    pub(crate) zspage: ZspageId,
    pub(crate) entry: EntryIndex,
    /// The slots whose objects were not seen without readers yet.
    pub(crate) pending: u128,
}

/// The draining frames of a pool.
#[derive(Debug)]
pub(crate) struct Drains {
    rows: MetaTable<Guarded64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Rows of the list.
    len: usize,
    /// Rows that may be needed: frames that are isolated, and rows that are being looked at.
    promised: usize,
}

impl Drains {
    pub(crate) fn new<B: Backing>(arena: &Arena<B>) -> Result<Self, Error> {
        Ok(Self {
            rows: arena.reserve_table(MOST * CELLS)?,
            state: Mutex::new(LockName::Drains, State::default()),
        })
    }

    pub(crate) fn release<B: Backing>(&mut self, arena: &Arena<B>) {
        arena.release_table(core::mem::take(&mut self.rows));
    }

    pub(crate) fn committed_bytes(&self) -> u64 {
        self.rows.committed_bytes()
    }

    /// Returns the rows of the list, and rows that are promised.
    pub(crate) fn len(&self, host: &dyn Host) -> (usize, usize) {
        let state = self.state.lock(host);
        (state.len, state.promised)
    }

    /// Returns the row at `at` of a list that nobody else changes: its lock is held, or nobody is
    /// at work.
    pub(crate) fn row(&self, at: usize) -> Drain {
        let [place, low, high] = [0, 1, 2].map(|column| self.rows.at(at * CELLS + column).get());
        Drain {
            frame: FrameId((place & ID_MASK) as u32),
            zspage: ZspageId::new((place >> ZSPAGE_SHIFT & ID_MASK) as u32),
            entry: EntryIndex::new((place >> ENTRY_SHIFT) as u8),
            pending: u128::from(high) << 64 | u128::from(low),
        }
    }

    /// Promises a row for a frame that is to be isolated; false if there is no memory for it. May
    /// commit some.
    pub(crate) fn promise<B: Backing>(&self, arena: &Arena<B>) -> bool {
        let rows = {
            let mut state = self.state.lock(arena.host());
            state.promised += 1;
            state.len + state.promised
        };
        let promised = rows <= MOST && arena.ensure(&self.rows, rows * CELLS - 1).is_ok();
        if !promised {
            self.end_promise(arena.host());
        }
        promised
    }

    /// Gives a promised row back.
    pub(crate) fn end_promise(&self, host: &dyn Host) {
        self.state.lock(host).promised -= 1;
    }

    /// Adds a row that was promised.
    pub(crate) fn push(&self, host: &dyn Host, drain: Drain) {
        let mut state = self.state.lock(host);
        state.promised -= 1;
        let cells = [
            u64::from(drain.frame.0)
                | u64::from(drain.zspage.number()) << ZSPAGE_SHIFT
                | u64::from(drain.entry.number()) << ENTRY_SHIFT,
            drain.pending as u64,
            (drain.pending >> 64) as u64,
        ];
        for (at, cell) in cells.into_iter().enumerate() {
            self.rows.at(state.len * CELLS + at).set(cell);
        }
        state.len += 1;
    }

    /// Takes out the row at `at`, if there is one; it is still promised.
    pub(crate) fn take(&self, host: &dyn Host, at: usize) -> Option<Drain> {
        let mut state = self.state.lock(host);
        let last = state.len.checked_sub(1).filter(|&last| at <= last)?;
        let taken = self.row(at);
        let cell = |row: usize, column: usize| self.rows.at(row * CELLS + column);
        (0..CELLS).for_each(|column| cell(at, column).set(cell(last, column).get()));
        state.len = last;
        state.promised += 1;
        Some(taken)
    }
}
