//! What is to be reached.

use super::alone::Speeds;
use super::memory::{HELD, LOADED, MAINTAINED, RESIDENT};
use super::requests::{Operation, Shape};
use super::results::{Clock, Results, cpu, wall};

/// A number made of one round.
type Share = fn(&Speeds) -> f64;

/// CPU times, in shares of the speed of what is compared.
const SPEEDS: [(&str, Share, f64); 2] = [
    (
        "fresh writes, share of the codec's speed",
        |round| round.codec.cpu / round.fresh.cpu,
        0.85,
    ),
    (
        "random reads, share of the array's speed",
        |round| round.flat_read.cpu / round.read.cpu,
        0.80,
    ),
];

/// Of a set of 64 MiB.
const MEMORY: [(&str, &str, f64); 4] = [
    ("mem_used over compressed", LOADED, 1.05),
    ("half discarded, held over live payload", HELD, 1.09),
    ("half discarded, resident over live payload", RESIDENT, 1.09),
    ("milliseconds of that maintenance", MAINTAINED, 2000.0),
];

/// Random overwrites of 4 KiB by one thread, over those of the kernel's device.
const OVERWRITES: [(&str, Clock); 2] = [
    ("random overwrites, CPU time over zram's", cpu),
    ("random overwrites, wall time over zram's", wall),
];

/// A line for each.
pub(super) fn lines(results: &Results) -> Vec<String> {
    let speeds = SPEEDS.map(|(what, get, least)| {
        let share = results.alone(get);
        let verdict = verdict(share, |share| share >= least);
        format!("bar: {what}, at least {least}: {verdict}")
    });
    let at_most = |what: &str, figure: Option<f64>, most: f64| {
        let verdict = verdict(figure, |figure| figure <= most);
        format!("bar: {what}, at most {most}: {verdict}")
    };
    let memory = MEMORY.map(|(what, name, most)| at_most(what, results.memory(name), most));
    let [shape, ..] = Shape::ALL;
    let overwrites = OVERWRITES.map(|(what, clock)| {
        let times = results.times(Operation::OverwriteRandom, shape, clock);
        at_most(what, times.map(f64::recip), 1.0)
    });
    speeds.into_iter().chain(memory).chain(overwrites).collect()
}

fn verdict(figure: Option<f64>, met: impl Fn(f64) -> bool) -> String {
    match figure {
        Some(figure) if met(figure) => format!("{figure:.3} met"),
        Some(figure) => format!("{figure:.3} missed"),
        None => "not measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_met_missed_or_not_measured() {
        let lines = lines(&super::super::results::tests::three_rounds());
        for line in [
            "bar: fresh writes, share of the codec's speed, at least 0.85: 0.900 met",
            "bar: random reads, share of the array's speed, at least 0.8: 0.700 missed",
            "bar: half discarded, held over live payload, at most 1.09: not measured",
            "bar: half discarded, resident over live payload, at most 1.09: 1.080 met",
            "bar: milliseconds of that maintenance, at most 2000: 2000.500 missed",
            "bar: random overwrites, CPU time over zram's, at most 1: 0.667 met",
        ] {
            assert!(lines.iter().any(|found| found == line), "{lines:?}");
        }
    }
}
