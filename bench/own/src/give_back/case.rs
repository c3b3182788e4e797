//! A set, a share that was freed, and what was measured.

use super::child::Job;
use crate::figures::Figures;

/// A set, a share that was freed, and what was measured.
pub(super) struct Case {
    /// Bytes of the pages, all copies, before compression.
    pub(super) source_bytes: u64,
    pub(super) job: Job,
    pub(super) runs: Vec<Figures>,
    /// What was measured in children of its own, once.
    pub(super) watched: Figures,
}

impl Case {
    /// The medians of the runs, and what was watched.
    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures::medians(&self.runs);
        figures.extend(self.watched.clone());
        figures
    }
}
