//! What was found out: a table, CSV.

use super::alone::Speeds;
use super::bars;
use super::cost::Cost;
use super::disk::Kind;
use super::requests::{Operation, Shape};
use super::results::{Clock, Results, cpu, wall};
use super::sizes::{LARGE, PAGE};
use crate::machine;
use std::fmt::Write as _;

/// One cost of a round.
type CostOf = fn(&Speeds) -> Cost;

/// What one store does beside its codec: said, and in the CSV.
const ALONE: [(&str, &str, CostOf); 5] = [
    (
        "codec alone, the same pages and order",
        "codec-compress",
        |round| round.codec,
    ),
    (
        "store, fresh writes, memory never touched",
        "store-fresh-write-untouched",
        |round| round.first,
    ),
    (
        "store, fresh writes, memory touched before",
        "store-fresh-write-touched",
        |round| round.fresh,
    ),
    (
        "flat array, random decompressing",
        "flat-array-read-random",
        |round| round.flat_read,
    ),
    ("store, random reads", "store-read-random", |round| {
        round.read
    }),
];

/// What was measured, of what.
#[derive(Debug)]
pub(super) struct Report {
    bytes: usize,
    absent: Option<String>,
    results: Results,
}

impl Report {
    pub(super) fn new(bytes: usize, absent: Option<String>, results: Results) -> Self {
        Self {
            bytes,
            absent,
            results,
        }
    }

    fn heading(&self) -> Vec<String> {
        let mut heading = machine::described("cargo xtask bench");
        heading.push(format!(
            "{} pages of 4 KiB, lz4; medians of {} rounds; ns a page",
            self.bytes / PAGE,
            self.results.rounds()
        ));
        match &self.absent {
            Some(reason) => heading.push(format!("not measured: zram: {reason}")),
            None => heading.extend(
                [
                    "zram: the kernel's device, O_DIRECT; x: times what the store takes",
                    "every request to zram is a system call, which its CPU time has in it",
                ]
                .map(str::to_owned),
            ),
        }
        heading
    }

    /// Everything that is to be seen on a terminal; the tables have at most 80 columns.
    pub(super) fn text(&self) -> String {
        let mut text = self.heading().join("\n");
        // A string takes everything, here and below.
        let _ = writeln!(text, "\n\n{:<64}{:>8}{:>8}", "alone", "wall", "CPU");
        for (name, _, get) in ALONE {
            let shown = |clock: Clock| shown(self.results.alone(|round| clock(get(round))), 0);
            let _ = writeln!(text, "{name:<64}{:>8}{:>8}", shown(wall), shown(cpu));
        }
        let _ = writeln!(
            text,
            "\n{:<23}{:>8}{:>5}{:>7}{:>7}{:>7}{:>7}{:>8}{:>8}",
            "store and zram", "request", "jobs", "store", "CPU", "zram", "CPU", "x wall", "x CPU"
        );
        for (operation, shape) in passes() {
            text += &self.line(operation, shape);
        }
        text.push('\n');
        for bar in bars::lines(&self.results) {
            let _ = writeln!(text, "{bar}");
        }
        text
    }

    fn line(&self, operation: Operation, shape: Shape) -> String {
        let cost = |disk, clock| shown(self.results.cost(operation, shape, disk, clock), 0);
        let times = |clock| shown(self.results.times(operation, shape, clock), 2);
        format!(
            "{:<23}{:>8}{:>5}{:>7}{:>7}{:>7}{:>7}{:>8}{:>8}\n",
            operation.name(),
            if shape.len == LARGE {
                "128 KiB"
            } else {
                "4 KiB"
            },
            shape.jobs,
            cost(Kind::Store, wall),
            cost(Kind::Store, cpu),
            cost(Kind::Zram, wall),
            cost(Kind::Zram, cpu),
            times(wall),
            times(cpu),
        )
    }

    /// A line of medians for each pass and disk, below the heading and the bars as comments and the
    /// names of the columns.
    pub(super) fn csv(&self) -> String {
        let comments = self.heading().into_iter().chain(bars::lines(&self.results));
        let mut csv: String = comments.map(|line| format!("# {line}\n")).collect();
        csv += "operation,request_bytes,jobs,disk,wall_ns_a_page,cpu_ns_a_page,\
                wall_over_store,cpu_over_store\n";
        for (_, name, get) in ALONE {
            let times = [wall, cpu].map(|clock| self.results.alone(|round| clock(get(round))));
            let [wall, cpu] = times.map(|time| shown(time, 1));
            let _ = writeln!(csv, "{name},{PAGE},1,,{wall},{cpu},,");
        }
        for (operation, shape) in passes() {
            for disk in [Kind::Store, Kind::Zram] {
                let costs =
                    [wall, cpu].map(|clock| self.results.cost(operation, shape, disk, clock));
                let times = [wall, cpu].map(|clock| {
                    let times = self.results.times(operation, shape, clock);
                    times.filter(|_| disk == Kind::Zram)
                });
                let [Some(wall), Some(cpu)] = costs else {
                    continue;
                };
                let times = times.map(|times| times.map_or(String::new(), |it| format!("{it:.3}")));
                let (name, Shape { len, jobs }) = (operation.name(), shape);
                let _ = writeln!(
                    csv,
                    "{name},{len},{jobs},{},{wall:.1},{cpu:.1},{}",
                    disk.name(),
                    times.join(",")
                );
            }
        }
        csv
    }
}

fn shown(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.decimals$}"))
}

fn passes() -> impl Iterator<Item = (Operation, Shape)> {
    let shapes = |operation| Shape::ALL.map(|shape| (operation, shape));
    Operation::ALL.into_iter().flat_map(shapes)
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::three_rounds;
    use super::*;

    #[test]
    fn tables_are_narrow_and_what_was_not_measured_is_said() {
        let report = Report::new(64 << 20, Some("no root".to_owned()), three_rounds());
        let text = report.text();
        assert!(text.contains("not measured: zram: no root"), "{text}");
        let below = text.lines().skip_while(|line| !line.starts_with("alone"));
        let tables = below.filter(|line| !line.contains(':'));
        assert_eq!(tables.clone().filter(|line| !line.is_empty()).count(), 27);
        assert!(tables.clone().all(|line| line.len() <= 80), "{text}");
        let csv = report.csv();
        for line in [
            "overwrite-random,4096,1,store,1000.0,500.0,,",
            "overwrite-random,4096,1,zram,1500.0,750.0,1.500,1.500",
            "codec-compress,4096,1,,90.0,45.0,,",
        ] {
            assert!(csv.lines().any(|found| found == line), "{csv}");
        }
        assert!(!csv.contains("\nread-random"), "{csv}");
    }
}
