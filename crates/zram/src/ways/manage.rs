//! Memory given back, and kept whole.

use crate::counters::Event;
use crate::store::Store;
use zs_mm::Backing;
use zsmalloc::{CompactBudget, CompactReport, MaintainBudget, MaintainReport};

impl<B: Backing> Store<B> {
    /// Gives what nothing uses back to the system; returns the bytes.
    pub fn trim(&self) -> u64 {
        self.pool.trim()
    }

    /// Moves objects together, so that frames become free. Concurrent with everything.
    pub fn compact(&self, budget: CompactBudget) -> CompactReport {
        let report = self.pool.compact(budget);
        self.counters
            .add(Event::FramesCompacted, report.frames_freed);
        report
    }
}

impl<B: Backing> Store<B>
where
    zs_mm::Arena<B>: Sync,
{
    /// Moves objects together and frames to lower places, within a budget, and gives memory back:
    /// to be called now and then. Concurrent with everything.
    pub fn maintain(&self, budget: MaintainBudget) -> MaintainReport {
        let report = self.pool.maintain(budget);
        self.counters
            .add(Event::FramesCompacted, report.frames_freed);
        report
    }
}
