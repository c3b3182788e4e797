//! What was found out: a table, CSV, bars.

use super::passes::{FRESH, LOADED};
use super::server::Kind;
use crate::figures::Figures;
use crate::machine;
use crate::numbers::median;
use std::fmt::Write as _;

/// The load that nbdcopy is.
pub(super) const LOADING: &str = "nbdcopy";

/// The figures of a row, as columns.
const COLUMNS: [&str; 7] = [
    "mb_s",
    "iops",
    "p50_us",
    "p99_us",
    "server_cpu_s_per_gb",
    "client_cpu_s_per_gb",
    "resident_over_pages",
];

/// A load, a rival, and how many times as fast as it this project's server is to be.
const BARS: [(&str, Kind, f64); 8] = [
    ("fresh-write-4k", Kind::NbdkitZram, 1.3),
    ("overwrite-4k", Kind::NbdkitZram, 1.3),
    ("read-4k", Kind::NbdkitZram, 1.3),
    ("fresh-write-4k", Kind::NbdkitZstd, 14.0),
    ("overwrite-4k", Kind::NbdkitZstd, 14.0),
    ("read-128k", Kind::NbdkitZram, 1.5),
    ("read-128k-sequential", Kind::NbdkitZram, 1.5),
    (LOADING, Kind::NbdkitZram, 1.2),
];

/// A server that cannot be measured here, and why.
pub(super) type Absent = (Kind, String);

/// One load on one server.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) server: &'static str,
    pub(super) load: &'static str,
    pub(super) figures: Figures,
}

/// What was measured, of what.
pub(super) struct Report {
    bytes: u64,
    runs: u32,
    absent: Vec<Absent>,
    rounds: Vec<Vec<Row>>,
}

impl Report {
    pub(super) fn new(bytes: u64, runs: u32, absent: Vec<Absent>) -> Self {
        Self {
            bytes,
            runs,
            absent,
            rounds: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, round: Vec<Row>) {
        self.rounds.push(round);
    }

    fn heading(&self) -> Vec<String> {
        let mut heading = machine::described("cargo xtask bench");
        heading.push(format!(
            "{} MiB of pages; medians of {} rounds; CPU in seconds a GB; resident: memory held over the pages",
            self.bytes >> 20,
            self.runs
        ));
        for (kind, reason) in &self.absent {
            heading.push(format!("not measured: {}: {reason}", kind.name()));
        }
        heading
    }

    /// The names of all loads.
    pub(super) fn loads() -> impl Iterator<Item = &'static str> {
        let passes = LOADED.iter().map(|pass| pass.name);
        [FRESH.name, LOADING].into_iter().chain(passes)
    }

    /// The figures of a load on a server, round by round.
    fn of(&self, server: Kind, load: &str) -> Vec<Figures> {
        let rows = self.rounds.iter().flatten();
        let rows = rows.filter(|row| row.server == server.name() && row.load == load);
        rows.map(|row| row.figures.clone()).collect()
    }

    /// The median over the rounds of how many times as fast this project's server is.
    fn times_as_fast(&self, load: &str, rival: Kind) -> Option<f64> {
        let speed = |figures: &Figures| figures.get("mb_s");
        let own = self.of(Kind::Zs, load);
        let rivals = self.of(rival, load);
        let ratio = |(own, rival)| Some(speed(own)? / speed(rival)?);
        median(own.iter().zip(&rivals).filter_map(ratio).collect())
    }

    /// A line for each load and server, then the bars.
    pub(super) fn text(&self) -> String {
        let mut text = self.heading().join("\n") + "\n";
        // A string takes everything, here and below.
        let _ = writeln!(
            text,
            "{:<28}{:<22}{:>8}{:>9}{:>9}{:>9}{:>8}{:>8}{:>9}{:>9}",
            "load",
            "server",
            "MB/s",
            "IOPS",
            "p50 us",
            "p99 us",
            "CPU",
            "client",
            "resident",
            "zs is x"
        );
        for load in Self::loads() {
            for kind in Kind::ALL {
                let runs = self.of(kind, load);
                if !runs.is_empty() {
                    text += &self.line(kind, load, &Figures::medians(&runs));
                }
            }
        }
        for (load, rival, bar) in BARS {
            let verdict = match self.times_as_fast(load, rival) {
                Some(times) if times >= bar => format!("{times:.2} met"),
                Some(times) => format!("{times:.2} missed"),
                None => "not measured".to_owned(),
            };
            let rival = rival.name();
            let _ = writeln!(
                text,
                "bar: {load}, zs over {rival}, at least {bar}: {verdict}"
            );
        }
        text
    }

    fn line(&self, kind: Kind, load: &str, figures: &Figures) -> String {
        let column = |name: &str, decimals: usize| {
            let figure = figures.get(name);
            figure.map_or(String::new(), |figure| format!("{figure:.decimals$}"))
        };
        let times = self.times_as_fast(load, kind);
        let times = times.map_or(String::new(), |times| format!("{times:.2}"));
        format!(
            "{load:<28}{:<22}{:>8}{:>9}{:>9}{:>9}{:>8}{:>8}{:>9}{times:>9}\n",
            kind.name(),
            column("mb_s", 0),
            column("iops", 0),
            column("p50_us", 1),
            column("p99_us", 1),
            column("server_cpu_s_per_gb", 2),
            column("client_cpu_s_per_gb", 2),
            column("resident_over_pages", 3),
        )
    }

    /// A line of medians for each load and server, below the heading as comments and the names of
    /// the columns.
    pub(super) fn csv(&self) -> String {
        let heading = self.heading().into_iter().map(|line| format!("# {line}\n"));
        let mut csv: String = heading.collect();
        let _ = writeln!(csv, "load,server,{},times_as_fast_as_it", COLUMNS.join(","));
        for load in Self::loads() {
            for kind in Kind::ALL {
                let runs = self.of(kind, load);
                if runs.is_empty() {
                    continue;
                }
                let figures = Figures::medians(&runs);
                let values = COLUMNS.map(|name| {
                    let figure = figures.get(name);
                    figure.map_or(String::new(), |figure| figure.to_string())
                });
                let times = self.times_as_fast(load, kind);
                let times = times.map_or(String::new(), |times| format!("{times:.3}"));
                let _ = writeln!(csv, "{load},{},{},{times}", kind.name(), values.join(","));
            }
        }
        csv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, load: &'static str, mb_s: f64) -> Row {
        let mut figures = Figures::default();
        figures.push("mb_s", mb_s);
        Row {
            server: kind.name(),
            load,
            figures,
        }
    }

    #[test]
    fn ratios_are_of_one_round() {
        let mut report = Report::new(1 << 20, 3, vec![(Kind::NbdkitZstd, "no nbdkit".to_owned())]);
        for (own, rival) in [(20.0, 10.0), (40.0, 40.0), (30.0, 5.0)] {
            let rows = [(Kind::Zs, own), (Kind::NbdkitZram, rival)];
            report.add(rows.map(|(kind, mb_s)| row(kind, "read-4k", mb_s)).to_vec());
        }
        let text = report.text();
        for line in [
            "not measured: nbdkit-zstd: no nbdkit",
            "bar: read-4k, zs over nbdkit-zram, at least 1.3: 2.00 met",
            "bar: overwrite-4k, zs over nbdkit-zstd, at least 14: not measured",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(
            report.csv().contains("\nread-4k,zs,30,"),
            "{}",
            report.csv()
        );
        assert!(report.csv().contains(",2.000\n"), "{}", report.csv());
    }
}
