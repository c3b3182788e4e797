//! What was found out: figures of all runs; a table and the bars, CSV.

use super::bars;
use super::case::{Case, Estimates};
use super::estimate::{Codec, Run};
use crate::figures::Figures;
use crate::machine;
use std::fmt::Write as _;

const MIB: f64 = (1_u64 << 20) as f64;

/// A figure of one run; `None` if it was not measured.
type Measure = fn(&Run) -> Option<f64>;

/// What a run says of one codec.
type OfCodec = fn(&Run) -> &Codec;

const MEMORY: [(&str, Measure); 2] = [
    ("memory_bytes", |run| {
        Some(run.said.total.memory_bytes as f64)
    }),
    ("sampled_pages", |run| {
        Some(run.said.total.sampled_pages as f64)
    }),
];

const COSTS: [(&str, Measure); 7] = [
    ("wall_s", |run| Some(run.wall.as_secs_f64())),
    ("cpu_s", |run| Some(run.cpu.as_secs_f64())),
    ("parent_mib", |run| Some(run.parent_peak? as f64 / MIB)),
    ("largest_mib", |run| Some(run.largest_peak as f64 / MIB)),
    ("peak_mib", |run| Some(run.peak()? as f64 / MIB)),
    ("over_sample_mib", |run| {
        Some((run.peak()? as f64 - run.sample() as f64) / MIB)
    }),
    ("peak_and_file_mib", |run| {
        Some((run.peak()? + run.sample()) as f64 / MIB)
    }),
];

const CODECS: [(&str, OfCodec); 2] = [
    ("lz4", |run| &run.said.total.codecs.lz4),
    ("zstd", |run| &run.said.total.codecs.zstd),
];

impl Case {
    /// The figures of all runs; none if the program is not installed.
    pub(super) fn figures(&self) -> Figures {
        let estimates = self.estimates.as_ref();
        estimates.map_or_else(Figures::default, Estimates::figures)
    }
}

impl Estimates {
    fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        let mut push = |name: String, value: Option<f64>| {
            if let Some(value) = value {
                figures.push(name, value);
            }
        };
        for (name, measure) in MEMORY {
            push(format!("{name}_mean"), mean(&self.each(measure)));
            push(format!("{name}_all"), measure(&self.all));
        }
        for (name, measure) in COSTS {
            let values = self.each(measure);
            push(format!("{name}_worst"), worst(&values));
            push(format!("{name}_mean"), mean(&values));
            push(format!("{name}_all"), measure(&self.all));
        }
        for (name, codec) in CODECS {
            let truth = codec(&self.all).ratio;
            let off = self.each(|run| Some(percent_off(codec(run).ratio, truth)));
            push(format!("{name}_off_percent_worst"), worst(&off));
            push(format!("{name}_off_percent_mean"), mean(&off));
            push(format!("{name}_ratio_all"), Some(truth));
            push(
                format!("{name}_drift_percent"),
                Some(percent_off(codec(&self.before).ratio, truth)),
            );
        }
        figures
    }

    /// A figure of each run with the default sample; `None` if one of them lacks it.
    fn each(&self, measure: impl Fn(&Run) -> Option<f64>) -> Option<Vec<f64>> {
        self.samples.iter().map(measure).collect()
    }
}

fn percent_off(ratio: f64, truth: f64) -> f64 {
    (ratio / truth - 1.0).abs() * 100.0
}

fn worst(values: &Option<Vec<f64>>) -> Option<f64> {
    values.as_ref()?.iter().copied().reduce(f64::max)
}

fn mean(values: &Option<Vec<f64>>) -> Option<f64> {
    let values = values.as_ref()?;
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

/// Everything that does not change from program to program, and what the programs are.
fn heading(cases: &[Case], runs: u32) -> Vec<String> {
    let mut heading = machine::described("bench-own");
    heading.push(format!(
        "worst and mean of the default sample by seeds 1 to {runs}; all: of all pages"
    ));
    for Case { kind, version, .. } in cases {
        let version = version.as_deref().unwrap_or("not installed, not measured");
        heading.push(format!("{kind}: {version}"));
    }
    heading
}

/// The names of all figures, in order: those of the program with most.
fn names(figures: &[Figures]) -> Vec<&str> {
    let most = figures.iter().max_by_key(|figures| figures.iter().count());
    let names = most.into_iter().flat_map(Figures::iter);
    names.map(|(name, _)| name).collect()
}

/// A table with a column for each program, then the bars.
pub(super) fn text(cases: &[Case], runs: u32) -> String {
    let figures: Vec<Figures> = cases.iter().map(Case::figures).collect();
    let mut text = heading(cases, runs).join("\n");
    let kinds = cases.iter().map(|case| case.kind.to_string());
    row(&mut text, "", kinds);
    for name in names(&figures) {
        let values = figures.iter().map(|figures| figures.get(name));
        row(
            &mut text,
            name,
            values.map(|value| value.map_or("not measured".to_owned(), |value| value.to_string())),
        );
    }
    text.push('\n');
    text.extend(cases.iter().map(bars::lines));
    text
}

fn row(text: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    // A string takes everything.
    let _ = write!(text, "\n{name:<24}");
    for cell in cells {
        let _ = write!(text, "{cell:>16}");
    }
}

/// One line for each program, below the heading as comments and the names of the columns. A field
/// that was not measured is empty.
pub(super) fn csv(cases: &[Case], runs: u32) -> String {
    let figures: Vec<Figures> = cases.iter().map(Case::figures).collect();
    let names = names(&figures);
    let mut csv = String::new();
    for line in heading(cases, runs) {
        csv.push_str(&format!("# {line}\n"));
    }
    csv.push_str(
        &["program"]
            .into_iter()
            .chain(names.iter().copied())
            .collect::<Vec<_>>()
            .join(","),
    );
    csv.push('\n');
    for (case, figures) in cases.iter().zip(&figures) {
        csv.push_str(&case.kind.to_string());
        for name in &names {
            let value = figures.get(name).map(|value| value.to_string());
            csv.push_str(&format!(",{}", value.unwrap_or_default()));
        }
        csv.push('\n');
    }
    csv
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::estimate::{Codecs, Said, Total};
    use super::super::program::Kind;
    use super::*;
    use std::time::Duration;

    fn run(memory_bytes: u64, wall: f64, ratios: [f64; 2]) -> Run {
        let [lz4, zstd] = ratios.map(|ratio| Codec { ratio });
        Run {
            said: Said {
                page_size: 4096,
                total: Total {
                    memory_bytes,
                    sampled_pages: 65_536,
                    codecs: Codecs { lz4, zstd },
                },
            },
            wall: Duration::from_secs_f64(wall),
            cpu: Duration::from_secs(2),
            parent_peak: Some(20 << 20),
            largest_peak: 300 << 20,
        }
    }

    /// Two runs: the second is slower, the first is off by more with zstd.
    pub(in super::super) fn estimates(memory_bytes: u64) -> Estimates {
        Estimates {
            before: run(memory_bytes, 8.0, [3.003, 4.0]),
            samples: vec![
                run(memory_bytes, 3.5, [3.0, 3.9]),
                run(memory_bytes, 4.5, [3.06, 4.0]),
            ],
            all: run(memory_bytes, 9.0, [3.0, 4.0]),
        }
    }

    fn cases() -> Vec<Case> {
        let with = |kind, estimates: Option<Estimates>| Case {
            kind,
            version: estimates.as_ref().map(|_| "1.0".to_owned()),
            estimates,
        };
        vec![
            with(Kind::Redis, None),
            with(Kind::Python, Some(estimates(1 << 30))),
        ]
    }

    #[test]
    fn worst_and_mean_are_over_the_seeds() {
        let figures = estimates(1 << 30).figures();
        for (name, value) in [
            ("wall_s_worst", 4.5),
            ("wall_s_mean", 4.0),
            ("wall_s_all", 9.0),
            ("over_sample_mib_worst", 64.0),
            ("lz4_off_percent_worst", 2.0),
            ("lz4_off_percent_mean", 1.0),
            ("zstd_off_percent_worst", 2.5),
            ("zstd_ratio_all", 4.0),
            ("lz4_drift_percent", 0.1),
            ("zstd_drift_percent", 0.0),
        ] {
            assert_eq!(figures.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn a_peak_that_one_run_lacks_is_not_measured() {
        let mut estimates = estimates(1 << 30);
        estimates.samples[1].parent_peak = None;
        let figures = estimates.figures();
        assert_eq!(figures.get("over_sample_mib_worst"), None);
        assert_eq!(figures.get("wall_s_worst"), Some(4.5));
    }

    #[test]
    fn a_missing_program_has_a_row_without_numbers() {
        let csv = csv(&cases(), 2);
        assert!(
            csv.contains("# redis-server: not installed, not measured\n"),
            "{csv}"
        );
        let lines: Vec<_> = csv.lines().filter(|line| !line.starts_with('#')).collect();
        let columns = lines[0].split(',').count();
        assert_eq!(lines[1], format!("redis-server{}", ",".repeat(columns - 1)));
        assert_eq!(
            lines[2]
                .split(',')
                .filter(|field| !field.is_empty())
                .count(),
            columns
        );

        let text = text(&cases(), 2);
        let wall = text
            .lines()
            .find(|line| line.starts_with("wall_s_worst"))
            .unwrap();
        assert_eq!(
            wall.split_whitespace().collect::<Vec<_>>(),
            ["wall_s_worst", "not", "measured", "4.5"]
        );
    }
}
