//! What the figures are to be, in the same run. A bar whose rival did not run is not measured,
//! never met.

use super::phase::{Phase, PhaseFigures};
use super::report::Report;
use crate::figures::verdict;
use std::fmt::Write as _;

const OWN: &str = "zsmalloc";
const WORDS: &str = "zsmalloc-words";
const MIMALLOC: &str = "mimalloc";
const GLIBC: &str = "glibc";

type Figure = fn(&PhaseFigures) -> Option<f64>;

const P50: Figure = |figures| figures.p50_ns;
const MEAN: Figure = |figures| Some(figures.mean_ns);
const HELD: Figure = |figures| figures.held_over_payload;

/// A figure of one allocator: at most so many times a rival's, or at most so much.
struct Bar {
    what: &'static str,
    own: &'static str,
    threads: u32,
    phase: Phase,
    figure: Figure,
    /// Whose figure is the unit.
    rival: Option<&'static str>,
    most: f64,
}

const fn ratio(
    what: &'static str,
    own: &'static str,
    phase: Phase,
    figure: Figure,
    rival: &'static str,
    most: f64,
) -> Bar {
    Bar {
        what,
        own,
        threads: 1,
        phase,
        figure,
        rival: Some(rival),
        most,
    }
}

const fn absolute(
    what: &'static str,
    own: &'static str,
    threads: u32,
    phase: Phase,
    figure: Figure,
    most: f64,
) -> Bar {
    Bar {
        what,
        own,
        threads,
        phase,
        figure,
        rival: None,
        most,
    }
}

const BARS: [Bar; 14] = [
    ratio("churn", OWN, Phase::Churn, P50, MIMALLOC, 1.6),
    ratio("churn", OWN, Phase::Churn, P50, GLIBC, 1.0),
    ratio("read", OWN, Phase::Read, P50, MIMALLOC, 1.9),
    ratio(
        "read, untimed pass,",
        OWN,
        Phase::ReadPass,
        MEAN,
        MIMALLOC,
        1.6,
    ),
    absolute("free, ns,", OWN, 1, Phase::FreeHalf, P50, 150.0),
    absolute("free, ns,", OWN, 2, Phase::FreeHalf, P50, 230.0),
    ratio("insert, mean,", OWN, Phase::Insert, MEAN, GLIBC, 1.0),
    absolute(
        "memory after churn and compact",
        OWN,
        1,
        Phase::PurgeChurned,
        HELD,
        1.05,
    ),
    ratio("churn", WORDS, Phase::Churn, P50, MIMALLOC, 1.35),
    ratio("read", WORDS, Phase::Read, P50, MIMALLOC, 1.6),
    ratio(
        "read, untimed pass,",
        WORDS,
        Phase::ReadPass,
        MEAN,
        MIMALLOC,
        1.6,
    ),
    absolute("free, ns,", WORDS, 1, Phase::FreeHalf, P50, 120.0),
    ratio("insert, mean,", WORDS, Phase::Insert, MEAN, GLIBC, 1.0),
    absolute(
        "memory after churn and compact",
        WORDS,
        1,
        Phase::PurgeChurned,
        HELD,
        1.05,
    ),
];

/// Memory over payload of a fresh load, and of half of it after compaction, by the size of the set
/// in MiB of pages.
const DENSITY: [(u64, f64, f64); 2] = [(64, 1.05, 1.09), (512, 1.033, 1.05)];

/// Two threads on different objects: this much of mimalloc's gain, at least.
const SCALING: f64 = 0.9;

/// One line for each bar.
pub(super) fn lines(report: &Report) -> String {
    let mut lines = String::new();
    let mut line = |what: String, figure: Option<f64>, most: f64| {
        let figure = figure.map(|figure| (figure * 1000.0).round() / 1000.0);
        // A string takes everything.
        let _ = writeln!(
            lines,
            "bar {what} at most {most}: {}",
            verdict(figure, most)
        );
    };
    for bar in &BARS {
        let own = get(report, bar.own, bar.threads, bar.phase, bar.figure);
        let (unit, name) = match bar.rival {
            Some(rival) => (
                get(report, rival, bar.threads, bar.phase, bar.figure),
                format!(" over {rival}'s"),
            ),
            None => (Some(1.0), String::new()),
        };
        let figure = own.zip(unit).map(|(own, unit)| own / unit);
        line(
            format!("{}, {} thread(s): {}{name}", bar.own, bar.threads, bar.what),
            figure,
            bar.most,
        );
    }
    // Captured sets are seldom round.
    let set = DENSITY
        .iter()
        .find(|(mib, ..)| report.source_bytes.abs_diff(mib << 20) * 50 <= mib << 20);
    for (phase, what, most) in set.into_iter().flat_map(|&(_, fresh, half)| {
        [
            (Phase::Insert, "loaded", fresh),
            (Phase::Purge, "half freed and compacted", half),
        ]
    }) {
        line(
            format!("{OWN}: memory, {what},"),
            get(report, OWN, 1, phase, HELD),
            most,
        );
    }
    for phase in [Phase::Read, Phase::Churn] {
        let what = format!(
            "{OWN}: loss of two threads over mimalloc's, {},",
            phase.name()
        );
        let most = (1.0 / SCALING * 1000.0).round() / 1000.0;
        line(
            what,
            scaling(report, OWN, phase)
                .zip(scaling(report, MIMALLOC, phase))
                .map(|(own, rival)| own / rival),
            most,
        );
    }
    lines
}

fn get(report: &Report, name: &str, threads: u32, phase: Phase, figure: Figure) -> Option<f64> {
    figure(&report.row(name, threads)?.figures(phase)?)
}

/// By how much an operation takes longer with two threads: the inverse of half the gain.
fn scaling(report: &Report, name: &str, phase: Phase) -> Option<f64> {
    Some(get(report, name, 2, phase, MEAN)? / get(report, name, 1, phase, MEAN)?)
}
