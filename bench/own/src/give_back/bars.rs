//! What the figures are to be: density after frees, time, lock holds.

use super::case::Case;
use crate::figures::verdict;
use crate::machine::takes_vectors;
use std::fmt::Write as _;

/// Share freed in percent, and the most that may be resident over the live payload.
type Density = [(u32, f64); 3];

/// Resident over live payload, by the size of the set in MiB before compression.
const RESIDENT: [(u64, Density); 2] = [
    (64, [(50, 1.09), (75, 1.13), (95, 1.45)]),
    (512, [(50, 1.05), (75, 1.08), (95, 1.25)]),
];

/// When resident memory is read: at once, and after khugepaged came by.
const READINGS: [u64; 2] = [1, 90];

/// Compaction and trim of half-freed 512 MiB, in milliseconds; where the system takes many ranges a
/// call, the other.
const COMPACT_MS: f64 = 40.0;
const COMPACT_MS_BY_VECTORS: f64 = 25.0;

/// The 99.9 % quantile of a class lock's hold, in nanoseconds of CPU time.
const HOLD_NS: f64 = 50_000.0;

/// The 99 % quantile of a read while objects move, over that while nothing does.
const READERS: f64 = 3.0;

/// One line for each bar that applies to the case.
pub(super) fn lines(case: &Case) -> String {
    let free = case.job.free;
    let figures = case.figures();
    let mut lines = String::new();
    let mut line = |what: &str, bar: f64, figure: Option<f64>| {
        // A string takes everything.
        let _ = writeln!(
            lines,
            "bar {case}: {what} at most {bar}: {}",
            verdict(figure, bar)
        );
    };
    let densities = RESIDENT.into_iter().find(|&(mib, _)| is_set(case, mib));
    let density = densities.and_then(|(_, bars)| bars.into_iter().find(|bar| bar.0 == free));
    for seconds in READINGS {
        if let Some((_, bar)) = density {
            let figure = figures.get(&format!("resident_over_payload_after_{seconds}s"));
            line(
                &format!("resident over payload after {seconds} s"),
                bar,
                figure,
            );
        }
    }
    if is_set(case, 512) && free == 50 {
        let bar = if takes_vectors() {
            COMPACT_MS_BY_VECTORS
        } else {
            COMPACT_MS
        };
        let figure = figures.get("compact_and_trim_wall_ms");
        line("compact and trim, ms,", COMPACT_MS, figure);
        if bar < COMPACT_MS {
            line("the same where process_madvise takes vectors", bar, figure);
        }
    }
    let figure = figures.get("read_moving_over_idle_p99");
    line(
        "readers' p99 while objects move, over idle,",
        READERS,
        figure,
    );
    let figure = figures.get("hold_class_p999_ns");
    line("class lock hold, p99.9, ns,", HOLD_NS, figure);
    lines
}

/// Whether the pages are so many MiB before compression, within 2 %: captured sets are seldom
/// round.
fn is_set(case: &Case, mib: u64) -> bool {
    case.source_bytes.abs_diff(mib << 20) * 50 <= mib << 20
}

#[cfg(test)]
mod tests {
    use super::super::child::{Job, Watch};
    use super::*;
    use crate::figures::Figures;

    fn lines_of(mib: u64, free: u32, figures: &[(&str, f64)]) -> String {
        let mut run = Figures::default();
        for &(name, value) in figures {
            run.push(name, value);
        }
        lines(&Case {
            source_bytes: mib << 20,
            job: Job {
                copies: 1,
                free,
                seed: 1,
                settle: vec![1],
                watch: Watch::Nothing,
            },
            runs: vec![run],
            watched: Figures::default(),
        })
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let text = lines_of(64, 75, &[("resident_over_payload_after_1s", 1.13)]);
        assert!(
            text.contains("after 1 s at most 1.13: 1.13 met\n"),
            "{text}"
        );
        assert!(
            text.contains("after 90 s at most 1.13: not measured\n"),
            "{text}"
        );
        assert!(text.contains("at most 50000: not measured\n"), "{text}");
        // Eight times a set of 63.5 MiB.
        let text = lines_of(508, 50, &[("compact_and_trim_wall_ms", 40.1)]);
        assert!(text.contains("ms, at most 40: 40.1 missed\n"), "{text}");
    }

    #[test]
    fn other_sets_have_no_bar_for_density() {
        for (mib, free) in [(62, 50), (66, 50), (256, 50), (64, 60)] {
            assert_eq!(lines_of(mib, free, &[]).lines().count(), 2);
        }
    }
}
