//! What is done, in which order, and what is measured of it.

use crate::numbers::{median, quantile};
use serde::{Deserialize, Serialize};

/// A step of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Every object, into memory that the allocator never had.
    Insert,
    /// Every object, copied out in random order.
    Read,
    /// The same in another order, without a clock between: operations may overlap.
    ReadPass,
    /// The same by [`load_many`](super::Blobs::load_many), 64 names a call.
    ReadMany,
    /// A random half.
    FreeHalf,
    /// Memory given back to the system as the allocator does it when asked.
    Purge,
    /// The half again.
    Refill,
    /// As many times as there are objects: one freed, and another stored in its place, both random.
    Churn,
    /// As [`Purge`](Self::Purge).
    PurgeChurned,
    /// All, in random order.
    FreeAll,
    /// Every object, into memory that the allocator has.
    InsertWarm,
    /// All freed, untimed; then as [`Purge`](Self::Purge).
    PurgeEmpty,
}

impl Phase {
    /// In the order of the run.
    pub(super) const ALL: [Self; 12] = [
        Self::Insert,
        Self::Read,
        Self::ReadPass,
        Self::ReadMany,
        Self::FreeHalf,
        Self::Purge,
        Self::Refill,
        Self::Churn,
        Self::PurgeChurned,
        Self::FreeAll,
        Self::InsertWarm,
        Self::PurgeEmpty,
    ];

    /// How many of them time their operations one by one, or in batches.
    pub(super) const TIMED: usize = 7;

    /// Whether memory is given back to the system.
    pub(super) fn purges(self) -> bool {
        matches!(self, Self::Purge | Self::PurgeChurned | Self::PurgeEmpty)
    }

    /// As the CSV names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Read => "read",
            Self::ReadPass => "read_pass",
            Self::ReadMany => "read_many",
            Self::FreeHalf => "free_half",
            Self::Purge => "purge",
            Self::Refill => "refill",
            Self::Churn => "churn",
            Self::PurgeChurned => "purge_churned",
            Self::FreeAll => "free_all",
            Self::InsertWarm => "insert_warm",
            Self::PurgeEmpty => "purge_empty",
        }
    }
}

/// One phase of one run, or the median of several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct PhaseFigures {
    pub(super) phase: Phase,
    /// Nanoseconds of an operation; none if it was not timed by itself.
    pub(super) p50_ns: Option<f64>,
    /// The mean; of a pass, its time over its operations; of a purge, all of it.
    pub(super) mean_ns: f64,
    pub(super) p99_ns: Option<f64>,
    /// Growth of resident memory over the live payload; none without payload.
    pub(super) held_over_payload: Option<f64>,
}

impl PhaseFigures {
    /// From the times of single operations (or of batches, each divided by its length).
    pub(super) fn timed(phase: Phase, mut times: Vec<f32>) -> Self {
        times.sort_by(f32::total_cmp);
        let sum: f64 = times.iter().copied().map(f64::from).sum();
        Self {
            phase,
            p50_ns: quantile(&times, 0.5).map(f64::from),
            mean_ns: sum / times.len().max(1) as f64,
            p99_ns: quantile(&times, 0.99).map(f64::from),
            held_over_payload: None,
        }
    }

    /// From the time of the whole.
    pub(super) fn whole(phase: Phase, mean_ns: f64) -> Self {
        Self {
            phase,
            p50_ns: None,
            mean_ns,
            p99_ns: None,
            held_over_payload: None,
        }
    }

    /// The median of each figure over runs of the same phase; `None` without a run.
    pub(super) fn medians(runs: &[Self]) -> Option<Self> {
        let of =
            |figure: fn(&Self) -> Option<f64>| median(runs.iter().filter_map(figure).collect());
        Some(Self {
            phase: runs.first()?.phase,
            p50_ns: of(|run| run.p50_ns),
            mean_ns: of(|run| Some(run.mean_ns))?,
            p99_ns: of(|run| run.p99_ns),
            held_over_payload: of(|run| run.held_over_payload),
        })
    }
}

/// Memory at one moment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Moment {
    /// Since the first operation, the pauses between phases left out.
    pub(super) ms: f64,
    /// By how much the process's memory has grown.
    pub(super) resident_mib: f64,
    /// Bytes of live objects.
    pub(super) payload_mib: f64,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) phases: Vec<PhaseFigures>,
    pub(super) moments: Vec<Moment>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_in_the_order_of_the_run() {
        assert!(Phase::ALL.is_sorted());
    }

    #[test]
    fn figures_of_times_and_of_runs() {
        let times = (1..=100).rev().map(|ns| ns as f32).collect();
        let one = PhaseFigures::timed(Phase::Read, times);
        assert_eq!((one.p50_ns, one.p99_ns), (Some(50.0), Some(99.0)));
        assert!((one.mean_ns - 50.5).abs() < 1e-9);
        let run = |mean, held| PhaseFigures {
            held_over_payload: held,
            ..PhaseFigures::whole(Phase::Purge, mean)
        };
        let runs = [run(3.0, Some(1.5)), run(1.0, None), run(2.0, Some(1.1))];
        let medians = PhaseFigures::medians(&runs).unwrap();
        assert_eq!((medians.mean_ns, medians.p50_ns), (2.0, None));
        assert_eq!(medians.held_over_payload, Some(1.3));
        assert_eq!(PhaseFigures::medians(&[]), None);
    }
}
