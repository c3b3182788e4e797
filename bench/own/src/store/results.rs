//! What was measured, round by round, and the medians.

use super::alone::Speeds;
use super::cost::Cost;
use super::disk::Kind;
use super::requests::{Operation, Shape};
use super::run::Row;
use crate::figures::Figures;
use crate::numbers::median;

/// One of the two times of a cost.
pub(super) type Clock = fn(Cost) -> f64;

/// All counted rounds.
#[derive(Debug, Default)]
pub(super) struct Results {
    speeds: Vec<Speeds>,
    memory: Vec<Figures>,
    rounds: Vec<Vec<Row>>,
}

impl Results {
    pub(super) fn add(&mut self, speeds: Speeds, memory: Figures, rows: Vec<Row>) {
        self.speeds.push(speeds);
        self.memory.push(memory);
        self.rounds.push(rows);
    }

    /// How many there are.
    pub(super) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Of one store alone: the median of a number made of one round.
    pub(super) fn alone(&self, get: impl Fn(&Speeds) -> f64) -> Option<f64> {
        median(self.speeds.iter().map(get).collect())
    }

    pub(super) fn memory(&self, name: &str) -> Option<f64> {
        let rounds = self.memory.iter();
        median(rounds.filter_map(|figures| figures.get(name)).collect())
    }

    /// What a pass took; `None` if it was not measured.
    pub(super) fn cost(
        &self,
        operation: Operation,
        shape: Shape,
        disk: Kind,
        clock: Clock,
    ) -> Option<f64> {
        let rounds = self.rounds.iter();
        let costs = rounds.filter_map(|rows| find(rows, operation, shape, disk));
        median(costs.map(clock).collect())
    }

    /// How many times what the store takes the kernel's device takes.
    pub(super) fn times(&self, operation: Operation, shape: Shape, clock: Clock) -> Option<f64> {
        let ratio = |rows: &Vec<Row>| {
            let cost = |disk| find(rows, operation, shape, disk).map(clock);
            Some(cost(Kind::Zram)? / cost(Kind::Store)?)
        };
        median(self.rounds.iter().filter_map(ratio).collect())
    }
}

fn find(rows: &[Row], operation: Operation, shape: Shape, disk: Kind) -> Option<Cost> {
    let same = |row: &&Row| row.operation == operation && row.shape == shape && row.disk == disk;
    rows.iter().find(same).map(|row| row.cost)
}

pub(super) fn wall(cost: Cost) -> f64 {
    cost.wall
}

pub(super) fn cpu(cost: Cost) -> f64 {
    cost.cpu
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::memory;
    use super::*;

    /// Three rounds of one pass, in which the kernel's device takes 1.5, 0.8 and 4 times what the
    /// store takes.
    pub(in super::super) fn three_rounds() -> Results {
        let cost = |wall| Cost {
            wall,
            cpu: wall / 2.0,
        };
        let mut results = Results::default();
        for times in [1.5, 0.8, 4.0] {
            let speeds = Speeds {
                codec: cost(90.0),
                first: cost(200.0),
                fresh: cost(100.0),
                flat_read: cost(70.0),
                read: cost(100.0),
            };
            let mut held = Figures::default();
            held.push(memory::LOADED, 1.04);
            held.push(memory::RESIDENT, 1.08);
            held.push(memory::MAINTAINED, 2000.5);
            let row = |disk, wall| Row {
                operation: Operation::OverwriteRandom,
                shape: Shape::ALL[0],
                disk,
                cost: cost(wall),
            };
            let rows = vec![row(Kind::Store, 1000.0), row(Kind::Zram, 1000.0 * times)];
            results.add(speeds, held, rows);
        }
        results
    }

    #[test]
    fn ratios_are_of_one_round() {
        let mut results = three_rounds();
        let [shape, other, ..] = Shape::ALL;
        let random = Operation::OverwriteRandom;
        assert_eq!(results.times(random, shape, wall), Some(1.5));
        assert_eq!(results.cost(random, shape, Kind::Zram, cpu), Some(750.0));
        assert_eq!(results.times(random, other, wall), None);
        assert_eq!(results.times(Operation::Read, shape, wall), None);
        for rows in &mut results.rounds {
            rows.truncate(1);
        }
        assert_eq!(results.times(random, shape, cpu), None);
        assert_eq!(results.cost(random, shape, Kind::Store, cpu), Some(500.0));
    }
}
