//! What compression would save of each process, from what was measured of its sample.

use super::{Report, quotient};
use crate::estimate::protocol::{Measured, Part};
use crate::sources::Live;
use zs_pages::SampledProcess;

/// Standard errors to either side that hold the true value in 95 of 100 cases.
const CONFIDENCE: f64 = 1.96;

/// One process, or all of them, with one codec.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Saving {
    /// Bytes that a pool would hold: the sample's mean, times the pages, times what the sample's pool held over its payload.
    pub(super) held: f64,
    /// By which share of itself `held` may be wrong for the choice of the sample, in 95 of 100 cases; 0 if all pages were
    /// read, `None` if a single page was and there are more.
    pub(super) error: Option<f64>,
}

/// One process.
pub(super) struct Row<'a> {
    pub(super) process: &'a SampledProcess,
    /// Bytes of its anonymous memory.
    pub(super) memory: f64,
    /// Shares of the sampled pages; `None` without any.
    pub(super) zero: Option<f64>,
    /// Zero included.
    pub(super) same_filled: Option<f64>,
    /// With each codec; `None` if none of its pages was sampled.
    pub(super) savings: [Option<Saving>; 2],
}

/// All of them.
pub(super) struct Savings<'a> {
    /// Those that would save most first.
    pub(super) rows: Vec<Row<'a>>,
    pub(super) total: Total,
}

/// All processes of which pages were sampled.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) pages: u64,
    pub(super) memory: f64,
    pub(super) sampled: u64,
    pub(super) zero: Option<f64>,
    pub(super) same_filled: Option<f64>,
    pub(super) savings: [Option<Saving>; 2],
}

/// Mean and variance of the mean of the compressed bytes of a process's pages.
#[derive(Clone, Copy)]
struct Mean {
    bytes: f64,
    /// `None` if it cannot be known.
    variance: Option<f64>,
}

impl Mean {
    /// Of a sample of a population of so many pages, drawn without putting back.
    fn of(part: &Part, population: u64) -> Option<Self> {
        let count = part.pages as f64;
        let bytes = quotient(part.payload_bytes, part.pages)?;
        let rest = 1.0 - count / population as f64;
        let variance = if part.pages >= population {
            Some(0.0)
        } else if part.pages == 1 {
            None
        } else {
            let squares = part.payload_squares - count * bytes * bytes;
            Some(squares.max(0.0) / (count - 1.0) / count * rest)
        };
        Some(Self { bytes, variance })
    }
}

/// Sums of estimates that are independent of each other.
struct Sum {
    payload: f64,
    variance: Option<f64>,
}

impl Sum {
    fn new() -> Self {
        Self {
            payload: 0.0,
            variance: Some(0.0),
        }
    }

    fn add(&mut self, mean: Mean, pages: f64) {
        self.payload += mean.bytes * pages;
        let both = self.variance.zip(mean.variance);
        self.variance = both.map(|(sum, variance)| sum + variance * pages * pages);
    }

    fn saving(&self, overhead: f64) -> Saving {
        let error = |variance: f64| match self.payload {
            // All pages that were read were same-filled; that the others are is not known.
            0.0 if variance > 0.0 => None,
            0.0 => Some(0.0),
            payload => Some(CONFIDENCE * variance.sqrt() / payload),
        };
        Saving {
            held: self.payload * overhead,
            error: self.variance.and_then(error),
        }
    }
}

impl Saving {
    /// Bytes given back of so many; negative if compression takes more.
    pub(super) fn saved(&self, memory: f64) -> f64 {
        memory - self.held
    }

    /// Memory over held bytes; `None` if nothing would be held.
    pub(super) fn ratio(&self, memory: f64) -> Option<f64> {
        (self.held > 0.0).then(|| memory / self.held)
    }
}

impl Report {
    /// What the report says of processes.
    pub(super) fn savings<'a>(&self, live: &'a Live) -> Savings<'a> {
        let codecs = [&self.lz4, &self.zstd];
        let overheads = codecs.map(|codec| super::overhead(codec).unwrap_or(1.0));
        let page = self.page.bytes() as f64;
        let mut total = Total::default();
        let (mut zero, mut same_filled) = (0.0, 0.0);
        let mut sums = [Sum::new(), Sum::new()];
        let mut rows: Vec<Row<'a>> = Vec::new();
        for (index, process) in live.processes.iter().enumerate() {
            let parts = codecs.map(|codec| part(codec, index));
            let row = Row::new(process, parts, overheads, page);
            let weighted = process.pages as f64 * process.weight;
            for (sum, part) in sums.iter_mut().zip(parts) {
                if let Some(mean) = Mean::of(&part, process.pages) {
                    sum.add(mean, weighted);
                }
            }
            if let Some((zeros, same)) = row.zero.zip(row.same_filled) {
                total.pages += process.pages;
                total.memory += row.memory;
                total.sampled += process.sampled;
                zero += zeros * weighted;
                same_filled += same * weighted;
            }
            rows.push(row);
        }
        let pages = total.memory / page;
        if pages > 0.0 {
            total.zero = Some(zero / pages);
            total.same_filled = Some(same_filled / pages);
            let [lz4, zstd] = sums;
            total.savings = [
                Some(lz4.saving(overheads[0])),
                Some(zstd.saving(overheads[1])),
            ];
        }
        rows.sort_by(|one, other| other.saved().total_cmp(&one.saved()));
        Savings { rows, total }
    }
}

impl<'a> Row<'a> {
    fn new(process: &'a SampledProcess, parts: [Part; 2], overheads: [f64; 2], page: f64) -> Self {
        let weighted = process.pages as f64 * process.weight;
        let saving = |part: &Part, overhead| {
            let mut sum = Sum::new();
            sum.add(Mean::of(part, process.pages)?, weighted);
            Some(sum.saving(overhead))
        };
        // The codec that got furthest has seen most pages.
        let furthest = std::cmp::max_by_key(parts[0], parts[1], |part| part.pages);
        Self {
            process,
            memory: weighted * page,
            zero: quotient(furthest.zero, furthest.pages),
            same_filled: quotient(furthest.same_filled, furthest.pages),
            savings: [
                saving(&parts[0], overheads[0]),
                saving(&parts[1], overheads[1]),
            ],
        }
    }

    /// What the list is sorted by: what lz4 saves, as the kernel's zram does unless told otherwise.
    fn saved(&self) -> f64 {
        self.savings[0].map_or(f64::MIN, |saving| saving.saved(self.memory))
    }
}

fn part(codec: &Measured, index: usize) -> Part {
    codec.parts.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(lens: &[f64]) -> Part {
        Part {
            pages: lens.len() as u64,
            payload_bytes: lens.iter().sum::<f64>() as u64,
            payload_squares: lens.iter().map(|len| len * len).sum(),
            ..Part::default()
        }
    }

    #[test]
    fn a_whole_population_has_no_error() {
        let mean = Mean::of(&part(&[1000.0, 3000.0]), 2).unwrap();
        assert_eq!((mean.bytes, mean.variance), (2000.0, Some(0.0)));
        assert!(Mean::of(&part(&[]), 2).is_none());
    }

    #[test]
    fn one_page_of_many_has_an_unknown_error() {
        let mean = Mean::of(&part(&[1000.0]), 2).unwrap();
        assert_eq!(mean.variance, None);
        let mut sum = Sum::new();
        sum.add(mean, 2.0);
        let expected = Saving {
            held: 2200.0,
            error: None,
        };
        assert_eq!(sum.saving(1.1), expected);
    }

    #[test]
    fn the_error_is_that_of_a_mean_without_putting_back() {
        // Squares about the mean of 1750 add up to 2 750 000; half of the population is known.
        let lens = [1000.0, 1000.0, 2000.0, 3000.0];
        let mean = Mean::of(&part(&lens), 8).unwrap();
        let expected = (2_750_000.0 / 3.0) / 4.0 * 0.5;
        assert!((mean.variance.unwrap() - expected).abs() < 1e-6);
        let mut sum = Sum::new();
        sum.add(mean, 8.0);
        let error = sum.saving(1.0).error.unwrap();
        let right = CONFIDENCE * expected.sqrt() / 1750.0;
        assert!((error - right).abs() < 1e-12, "{error} {right}");
    }

    #[test]
    fn the_error_covers_the_truth_as_often_as_it_says() {
        // A population of two kinds of pages, sampled many times.
        let mut rng = fastrand::Rng::with_seed(3);
        let mut lens: Vec<f64> = (0..4000)
            .map(|n| if n % 3 == 0 { 200.0 } else { 2500.0 })
            .collect();
        let truth = lens.iter().sum::<f64>();
        let mut covered = 0;
        for _ in 0..500 {
            rng.shuffle(&mut lens);
            let mut sum = Sum::new();
            sum.add(Mean::of(&part(&lens[..400]), 4000).unwrap(), 4000.0);
            let saving = sum.saving(1.0);
            let error = saving.error.unwrap() * saving.held;
            covered += u32::from((saving.held - truth).abs() <= error);
        }
        // 475 expected, with a standard deviation of 5.
        assert!((455..=495).contains(&covered), "{covered}");
    }

    #[test]
    fn same_filled_samples_do_not_claim_certainty_unless_they_are_whole() {
        let nothing = |variance| Sum {
            payload: 0.0,
            variance,
        };
        assert_eq!(nothing(Some(0.0)).saving(1.0).error, Some(0.0));
        assert_eq!(nothing(None).saving(1.0).error, None);
        assert_eq!(nothing(Some(0.0)).saving(1.0).ratio(5.0), None);
    }
}
