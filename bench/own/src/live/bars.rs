//! What the figures are to be: of a process of 1 GiB, at the default sample, on one CPU.

use super::case::Case;
use crate::figures::verdict;
use std::fmt::Write as _;

/// Memory of the processes that the bars are for, and by how much of it one may differ.
const MEMORY: f64 = (1_u64 << 30) as f64;
const TOLERANCE: f64 = 0.05;

/// Wall clock, in seconds.
const WALL_S: f64 = 4.0;

/// Memory of zs over the sample, in MiB.
const OVER_SAMPLE_MIB: f64 = 64.0;

/// By how much a ratio from the sample may differ from that of all pages, in percent.
const OFF_PERCENT: f64 = 2.0;

/// By how much a ratio of all pages may differ before and after, in percent: of a process that
/// changed meanwhile, one reading says nothing about another.
const DRIFT_PERCENT: f64 = 0.2;

/// A line for each bar. Where the process was of another size, nothing counts as measured; where it
/// changed, no ratio does.
pub(super) fn lines(case: &Case) -> String {
    let figures = case.figures();
    let memory = figures.get("memory_bytes_mean");
    let is_that_large = memory.is_some_and(|bytes| (bytes - MEMORY).abs() <= MEMORY * TOLERANCE);
    let holds_still = |name| {
        let drift = figures.get(name);
        drift.is_some_and(|percent| percent <= DRIFT_PERCENT)
    };
    let mut lines = String::new();
    for (what, bar, name, counts) in [
        ("wall, s,", WALL_S, "wall_s_worst", true),
        (
            "memory over the sample, MiB,",
            OVER_SAMPLE_MIB,
            "over_sample_mib_worst",
            true,
        ),
        (
            "lz4 off, %,",
            OFF_PERCENT,
            "lz4_off_percent_worst",
            holds_still("lz4_drift_percent"),
        ),
        (
            "zstd off, %,",
            OFF_PERCENT,
            "zstd_off_percent_worst",
            holds_still("zstd_drift_percent"),
        ),
    ] {
        let figure = figures.get(name).filter(|_| is_that_large && counts);
        let kind = case.kind;
        // A string takes everything.
        let _ = writeln!(
            lines,
            "bar {kind}: {what} at most {bar}: {}",
            verdict(figure, bar)
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::estimates;
    use super::*;
    use crate::live::program::Kind;

    fn lines_of(memory_bytes: u64) -> String {
        lines(&Case {
            kind: Kind::Node,
            version: None,
            estimates: Some(estimates(memory_bytes)),
        })
    }

    #[test]
    fn the_worst_run_counts() {
        let text = lines_of(1 << 30);
        for part in [
            "bar node: wall, s, at most 4: 4.5 missed\n",
            "memory over the sample, MiB, at most 64: 64 met\n",
            "lz4 off, %, at most 2: 2 met\n",
            "zstd off, %, at most 2: 2.5 missed\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn of_a_process_that_changed_no_ratio_counts() {
        let mut changed = estimates(1 << 30);
        changed.before.said.total.codecs.lz4.ratio *= 1.01;
        let text = lines(&Case {
            kind: Kind::Node,
            version: None,
            estimates: Some(changed),
        });
        assert!(
            text.contains("lz4 off, %, at most 2: not measured\n"),
            "{text}"
        );
        assert!(
            text.contains("zstd off, %, at most 2: 2.5 missed\n"),
            "{text}"
        );
    }

    #[test]
    fn other_sizes_and_missing_programs_meet_nothing() {
        let missing = lines(&Case {
            kind: Kind::Redis,
            version: None,
            estimates: None,
        });
        for text in [lines_of(64 << 20), lines_of(1200 << 20), missing] {
            assert_eq!(text.matches("not measured").count(), 4, "{text}");
        }
    }
}
