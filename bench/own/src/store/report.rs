//! What was found out: a table, CSV, bars.

use super::alone::Measured;
use super::cost::Cost;
use super::disk::Kind;
use super::requests::{Operation, Shape};
use super::run::Row;
use super::{LARGE, PAGE};
use crate::machine;
use crate::numbers::median;
use std::fmt::Write as _;

type CostOf = fn(&Measured) -> Cost;
type FigureOf = fn(&Measured) -> f64;

/// What one store does beside its codec, and where it is found.
const ALONE: [(&str, CostOf); 5] = [
    ("codec alone, the same pages and order", |round| round.codec),
    ("store, fresh writes, memory never touched", |round| {
        round.first
    }),
    ("store, fresh writes, memory touched before", |round| {
        round.fresh
    }),
    ("flat array, random decompressing", |round| round.flat_read),
    ("store, random reads", |round| round.read),
];

/// Which way a bar is to be met.
#[derive(Debug, Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// What is compared, with what, and in which figure.
const BARS: [(&str, FigureOf, Limit); 6] = [
    (
        "fresh writes, share of the codec's speed",
        |round| round.codec.cpu / round.fresh.cpu,
        Limit::AtLeast(0.85),
    ),
    (
        "random reads, share of the array's speed",
        |round| round.flat_read.cpu / round.read.cpu,
        Limit::AtLeast(0.80),
    ),
    (
        "mem_used over compressed",
        |round| round.density,
        Limit::AtMost(1.05),
    ),
    (
        "a random half discarded, held over live payload",
        |round| round.held,
        Limit::AtMost(1.09),
    ),
    (
        "a random half discarded, resident over live payload",
        |round| round.resident,
        Limit::AtMost(1.09),
    ),
    (
        "milliseconds of that maintenance",
        |round| round.maintain_ms,
        Limit::AtMost(2000.0),
    ),
];

/// The bar beside the kernel's device.
const OVERWRITES: &str = "random overwrites, CPU time over the kernel's";

/// What was measured, of what.
pub(super) struct Report {
    bytes: usize,
    runs: u32,
    absent: Option<String>,
    alone: Vec<Measured>,
    rounds: Vec<Vec<Row>>,
}

impl Report {
    pub(super) fn new(bytes: usize, runs: u32, absent: Option<String>) -> Self {
        Self {
            bytes,
            runs,
            absent,
            alone: Vec::new(),
            rounds: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, alone: Measured, rows: Vec<Row>) {
        self.alone.push(alone);
        self.rounds.push(rows);
    }

    fn heading(&self) -> Vec<String> {
        let mut heading = machine::described("cargo xtask bench");
        heading.push(format!(
            "{} pages of 4 KiB, lz4; medians of {} rounds; ns a page",
            self.bytes / PAGE,
            self.runs
        ));
        heading.push(match &self.absent {
            Some(reason) => format!("not measured: zram: {reason}"),
            None => "zram: the kernel's, O_DIRECT; its CPU time has a system call a request, \
                     the store's none"
                .to_owned(),
        });
        heading
    }

    /// The median over the rounds.
    fn of(&self, get: impl Fn(&Measured) -> f64) -> f64 {
        median(self.alone.iter().map(get).collect()).unwrap_or(f64::NAN)
    }

    /// What an operation took in one round.
    fn cost(rows: &[Row], operation: Operation, shape: Shape, disk: Kind) -> Option<Cost> {
        let same =
            |row: &&Row| row.operation == operation && row.shape == shape && row.disk == disk;
        rows.iter().find(same).map(|row| row.cost)
    }

    /// The median over the rounds of a number made of one round.
    fn median_of(&self, get: impl Fn(&[Row]) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(|rows| get(rows)).collect())
    }

    fn figure(
        &self,
        operation: Operation,
        shape: Shape,
        disk: Kind,
        of: fn(Cost) -> f64,
    ) -> Option<f64> {
        self.median_of(|rows| Self::cost(rows, operation, shape, disk).map(of))
    }

    /// How many times the store's a cost of the kernel's is.
    fn times(&self, operation: Operation, shape: Shape, of: fn(Cost) -> f64) -> Option<f64> {
        self.median_of(|rows| {
            let cost = |disk| Self::cost(rows, operation, shape, disk).map(of);
            Some(cost(Kind::Zram)? / cost(Kind::Store)?)
        })
    }

    /// Everything that is to be seen on a terminal of 80 columns.
    pub(super) fn text(&self) -> String {
        let mut text = self.heading().join("\n");
        // A string takes everything, here and below.
        let _ = writeln!(text, "\n\n{:<64}{:>8}{:>8}", "alone", "wall", "CPU");
        for (name, get) in ALONE {
            let (wall, cpu) = (
                self.of(|round| get(round).wall),
                self.of(|round| get(round).cpu),
            );
            let _ = writeln!(text, "{name:<64}{wall:>8.0}{cpu:>8.0}");
        }
        let _ = writeln!(
            text,
            "\n{:<24}{:>8}{:>5}{:>7}{:>7}{:>7}{:>7}{:>7}{:>8}",
            "wall and CPU time", "request", "jobs", "store", "CPU", "zram", "CPU", "zram is", "CPU"
        );
        for (operation, shape) in passes() {
            text += &self.line(operation, shape);
        }
        text.push('\n');
        for bar in self.bars() {
            let _ = writeln!(text, "{bar}");
        }
        text
    }

    fn line(&self, operation: Operation, shape: Shape) -> String {
        let shown = |figure: Option<f64>, decimals: usize| {
            figure.map_or("-".to_owned(), |figure| format!("{figure:.decimals$}"))
        };
        let cost = |disk, of| shown(self.figure(operation, shape, disk, of), 0);
        let times = |of| shown(self.times(operation, shape, of), 2);
        format!(
            "{:<24}{:>8}{:>5}{:>7}{:>7}{:>7}{:>7}{:>7}{:>8}\n",
            operation.name(),
            size(shape.len),
            shape.jobs,
            cost(Kind::Store, wall),
            cost(Kind::Store, cpu),
            cost(Kind::Zram, wall),
            cost(Kind::Zram, cpu),
            times(wall),
            times(cpu),
        )
    }

    /// A line for each bar.
    fn bars(&self) -> Vec<String> {
        let alone = BARS.map(|(what, get, limit)| limit.verdict(what, Some(self.of(get))));
        let [shape, ..] = Shape::ALL;
        let times = self.times(Operation::OverwriteRandom, shape, cpu);
        let overwrites = Limit::AtMost(1.0).verdict(OVERWRITES, times.map(f64::recip));
        alone.into_iter().chain([overwrites]).collect()
    }

    /// A line of medians for each pass and disk, below the heading and the bars as comments and the names of the columns.
    pub(super) fn csv(&self) -> String {
        let comments = self.heading().into_iter().chain(self.bars());
        let mut csv: String = comments.map(|line| format!("# {line}\n")).collect();
        csv += "operation,request_bytes,jobs,disk,wall_ns_a_page,cpu_ns_a_page\n";
        for (name, get) in ALONE {
            let (wall, cpu) = (
                self.of(|round| get(round).wall),
                self.of(|round| get(round).cpu),
            );
            let name = name.replace(", ", ": ");
            let _ = writeln!(csv, "{name},{PAGE},1,,{wall:.1},{cpu:.1}");
        }
        for (operation, shape) in passes() {
            for disk in [Kind::Store, Kind::Zram] {
                let figure = |of| self.figure(operation, shape, disk, of);
                if let Some((wall, cpu)) = figure(wall).zip(figure(cpu)) {
                    let (name, disk, Shape { len, jobs }) = (operation.name(), disk.name(), shape);
                    let _ = writeln!(csv, "{name},{len},{jobs},{disk},{wall:.1},{cpu:.1}");
                }
            }
        }
        csv
    }
}

impl Limit {
    fn verdict(self, what: &str, figure: Option<f64>) -> String {
        let (met, limit) = match self {
            Self::AtLeast(least) => (figure.map(|it| it >= least), format!("at least {least}")),
            Self::AtMost(most) => (figure.map(|it| it <= most), format!("at most {most}")),
        };
        let found = match (figure, met) {
            (Some(figure), Some(true)) => format!("{figure:.3} met"),
            (Some(figure), _) => format!("{figure:.3} missed"),
            (None, _) => "not measured".to_owned(),
        };
        format!("bar: {what}, {limit}: {found}")
    }
}

fn wall(cost: Cost) -> f64 {
    cost.wall
}

fn cpu(cost: Cost) -> f64 {
    cost.cpu
}

fn size(len: usize) -> &'static str {
    if len == LARGE { "128 KiB" } else { "4 KiB" }
}

fn passes() -> impl Iterator<Item = (Operation, Shape)> {
    let shapes = |operation| Shape::ALL.map(|shape| (operation, shape));
    Operation::ALL.into_iter().flat_map(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(times: f64) -> (Measured, Vec<Row>) {
        let cost = |wall| Cost {
            wall,
            cpu: wall / 2.0,
        };
        let measured = Measured {
            codec: cost(90.0),
            first: cost(200.0),
            fresh: cost(100.0),
            flat_read: cost(70.0),
            read: cost(100.0),
            density: 1.04,
            held: 1.02,
            resident: 1.08,
            maintain_ms: 2000.5,
        };
        let row = |disk, wall| Row {
            operation: Operation::OverwriteRandom,
            shape: Shape::ALL[0],
            disk,
            cost: cost(wall),
        };
        let rows = vec![row(Kind::Store, 1000.0), row(Kind::Zram, 1000.0 * times)];
        (measured, rows)
    }

    #[test]
    fn bars_are_met_missed_or_not_measured() {
        let mut report = Report::new(64 << 20, 3, Some("no root".to_owned()));
        for times in [1.5, 0.8, 4.0] {
            let (measured, rows) = round(times);
            report.add(measured, rows);
        }
        let text = report.text();
        for line in [
            "not measured: zram: no root",
            "bar: fresh writes, share of the codec's speed, at least 0.85: 0.900 met",
            "bar: random reads, share of the array's speed, at least 0.8: 0.700 missed",
            "bar: a random half discarded, resident over live payload, at most 1.09: 1.080 met",
            "bar: milliseconds of that maintenance, at most 2000: 2000.500 missed",
            "bar: random overwrites, CPU time over the kernel's, at most 1: 0.667 met",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let table = text.lines().filter(|line| !line.contains(':'));
        assert!(table.clone().count() > 20, "{text}");
        assert!(table.clone().all(|line| line.len() <= 80), "{text}");
        let csv = report.csv();
        assert!(
            csv.contains("\noverwrite-random,4096,1,zram,1500.0,750.0\n"),
            "{csv}"
        );
        assert!(!csv.contains("\nread-random"), "{csv}");
        for rows in &mut report.rounds {
            rows.truncate(1);
        }
        let text = report.text();
        assert!(
            text.contains("the kernel's, at most 1: not measured"),
            "{text}"
        );
    }
}
