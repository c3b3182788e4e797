//! The memory of a pool, estimated from the compressed pages of a sample, and its error.

use super::quotient;
use crate::estimate::protocol::{Measured, Part};
use zs_pages::{STRATA, SampledProcess};

/// Standard errors to either side that hold the true value in 95 of 100 cases.
const CONFIDENCE: f64 = 1.96;

/// With fewer pages a sample says nothing of its own error: they may all be alike by chance.
const FEW_PAGES: u64 = 30;

/// One process, or all of them, with one codec.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Saving {
    /// Bytes that a pool would hold.
    pub(super) held: f64,
    /// By which share of itself `held` may be wrong for the choice of the sample, in 95 of 100
    /// cases; 0 if all pages were read, `None` if too few were to know.
    pub(super) error: Option<f64>,
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
        } else if part.pages < FEW_PAGES {
            None
        } else {
            let squares = part.payload_squares - count * bytes * bytes;
            Some(squares.max(0.0) / (count - 1.0) / count * rest)
        };
        Some(Self { bytes, variance })
    }
}

/// Sums of estimates that are independent of each other.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    /// Compressed bytes.
    pub(super) payload: f64,
    variance: Option<f64>,
}

/// What a pool takes for its objects: so many bytes for each byte of payload, however much there
/// is, and some once, for structures and partly filled zspages.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    per_byte: f64,
    once: f64,
}

impl Cost {
    /// Of the pool that the whole sample was stored in.
    pub(super) fn of(codec: &Measured) -> Self {
        let slots = codec.per_object_bytes.min(codec.held_bytes);
        Self {
            per_byte: quotient(slots, codec.payload_bytes).unwrap_or(1.0),
            once: (codec.held_bytes - slots) as f64,
        }
    }
}

impl Sum {
    pub(super) const NOTHING: Self = Self {
        payload: 0.0,
        variance: Some(0.0),
    };

    /// Returns the strata of a process; `None` if one has pages of which none was sampled, or not
    /// all of the sample was stored.
    pub(super) fn of(process: &SampledProcess, parts: [Part; STRATA]) -> Option<Self> {
        let mut sum = Self::NOTHING;
        for (stratum, part) in process.strata.iter().zip(&parts) {
            if part.pages < stratum.sampled {
                return None;
            }
            if stratum.pages == 0 {
                continue;
            }
            let mean = Mean::of(part, stratum.pages)?;
            let pages = stratum.weighted();
            sum.add(Self {
                payload: mean.bytes * pages,
                variance: mean.variance.map(|variance| variance * pages * pages),
            });
        }
        Some(sum)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.payload += other.payload;
        let both = self.variance.zip(other.variance);
        self.variance = both.map(|(one, other)| one + other);
    }

    /// Of a pool that has `all` as payload.
    pub(super) fn saving(&self, cost: Cost, all: f64) -> Saving {
        let share = if all > 0.0 { self.payload / all } else { 0.0 };
        let error = |variance: f64| match self.payload {
            // All pages that were read were same-filled; that the others are is not known.
            0.0 if variance > 0.0 => None,
            0.0 => Some(0.0),
            payload => Some(CONFIDENCE * variance.sqrt() / payload),
        };
        Saving {
            held: self.payload * cost.per_byte + share * cost.once,
            error: self.variance.and_then(error),
        }
    }
}

impl Saving {
    /// Returns the bytes given back of so many; negative if compression takes more.
    pub(super) fn saved(&self, memory: f64) -> f64 {
        memory - self.held
    }

    /// Memory over held bytes; `None` if nothing would be held.
    pub(super) fn ratio(&self, memory: f64) -> Option<f64> {
        (self.held > 0.0).then(|| memory / self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zs_pages::SampledStratum;

    const PLAIN: Cost = Cost {
        per_byte: 1.0,
        once: 0.0,
    };

    fn part(lens: &[f64]) -> Part {
        Part {
            pages: lens.len() as u64,
            payload_bytes: lens.iter().sum::<f64>() as u64,
            payload_squares: lens.iter().map(|len| len * len).sum(),
            ..Part::default()
        }
    }

    fn parts(own: &[f64], hidden: &[f64]) -> [Part; STRATA] {
        [part(own), part(hidden), Part::default()]
    }

    /// Of one stratum, with nothing in the others.
    fn sum(lens: &[f64], pages: u64, weight: f64) -> Option<Sum> {
        Sum::of(
            &process([(lens.len() as u64, pages, weight), (0, 0, 1.0)]),
            parts(lens, &[]),
        )
    }

    fn process(strata: [(u64, u64, f64); 2]) -> SampledProcess {
        SampledProcess {
            pid: 1,
            name: String::new(),
            strata: [strata[0], strata[1], (0, 0, 1.0)].map(|(sampled, pages, weight)| {
                SampledStratum {
                    pages,
                    weight,
                    sampled,
                    ..SampledStratum::default()
                }
            }),
            swapped: 0,
            counted_elsewhere: 0,
            skipped: Default::default(),
            shared_memory: None,
        }
    }

    #[test]
    fn a_whole_population_has_no_error() {
        let mean = Mean::of(&part(&[1000.0, 3000.0]), 2).unwrap();
        assert_eq!((mean.bytes, mean.variance), (2000.0, Some(0.0)));
        assert!(Mean::of(&part(&[]), 2).is_none());
    }

    #[test]
    fn a_few_pages_of_many_have_an_unknown_error() {
        let sum = sum(&[1000.0; 29], 58, 1.0).unwrap();
        let cost = Cost {
            per_byte: 1.1,
            once: 50.0,
        };
        let saving = sum.saving(cost, sum.payload);
        assert!(
            (saving.held - (58_000.0 * 1.1 + 50.0)).abs() < 1e-6,
            "{saving:?}"
        );
        assert_eq!(saving.error, None);
    }

    #[test]
    fn what_a_pool_takes_once_is_shared_out_and_not_scaled() {
        let cost = Cost {
            per_byte: 1.5,
            once: 1000.0,
        };
        let (one, two) = (
            sum(&[100.0], 1, 1.0).unwrap(),
            sum(&[300.0], 1, 1.0).unwrap(),
        );
        assert_eq!(one.saving(cost, 400.0).held, 150.0 + 250.0);
        assert_eq!(two.saving(cost, 400.0).held, 450.0 + 750.0);
        assert_eq!(Sum::NOTHING.saving(cost, 0.0).held, 0.0);
    }

    #[test]
    fn the_error_is_that_of_a_mean_without_putting_back() {
        let lens: Vec<f64> = (0..40).map(|n| f64::from(n % 4) * 1000.0).collect();
        // Squares about the mean of 1500: ten times 5 000 000. Half of the population is known.
        let expected = 50_000_000.0 / 39.0 / 40.0 * 0.5;
        let mean = Mean::of(&part(&lens), 80).unwrap();
        assert!((mean.variance.unwrap() - expected).abs() < 1e-6);
        let sum = sum(&lens, 80, 0.5).unwrap();
        let error = sum.saving(PLAIN, sum.payload).error.unwrap();
        let right = CONFIDENCE * expected.sqrt() / 1500.0;
        assert!((error - right).abs() < 1e-12, "{error} {right}");
    }

    #[test]
    fn the_error_covers_the_truth_as_often_as_it_says() {
        // A population of two kinds of pages, sampled many times.
        let mut rng = fastrand::Rng::with_seed(3);
        let kinds = |n: u32| if n.is_multiple_of(3) { 200.0 } else { 2500.0 };
        let mut lens: Vec<f64> = (0..4000).map(kinds).collect();
        let truth = lens.iter().sum::<f64>();
        let mut covered = 0;
        for _ in 0..500 {
            rng.shuffle(&mut lens);
            let sum = sum(&lens[..400], 4000, 1.0).unwrap();
            let saving = sum.saving(PLAIN, sum.payload);
            let error = saving.error.unwrap() * saving.held;
            covered += u32::from((saving.held - truth).abs() <= error);
        }
        // 475 expected, with a standard deviation of 5.
        assert!((455..=495).contains(&covered), "{covered}");
    }

    #[test]
    fn shared_pages_count_by_their_weight_and_own_ones_whole() {
        let process = process([(2, 2, 1.0), (4, 4, 0.25)]);
        let sum = Sum::of(&process, parts(&[1000.0; 2], &[3000.0; 4])).unwrap();
        assert_eq!(sum.payload, 2000.0 + 3000.0);
        assert_eq!(process.weighted_pages(), 3.0);
    }

    #[test]
    fn of_a_process_with_an_unknown_part_nothing_is_said() {
        let known = process([(2, 2, 1.0), (0, 4, 0.5)]);
        assert!(!known.is_covered());
        assert!(Sum::of(&known, parts(&[1000.0; 2], &[])).is_none());
        assert!(process([(2, 2, 1.0), (0, 0, 1.0)]).is_covered());
    }

    #[test]
    fn of_a_sample_that_was_not_stored_whole_nothing_is_said() {
        let process = process([(3, 9, 1.0), (0, 0, 1.0)]);
        let cut = parts(&[1000.0; 2], &[]);
        assert!(Sum::of(&process, cut).is_none());
        assert!(Sum::of(&process, parts(&[1000.0; 3], &[])).is_some());
    }

    #[test]
    fn same_filled_samples_do_not_claim_certainty_unless_they_are_whole() {
        let nothing = |variance| Sum {
            payload: 0.0,
            variance,
        };
        assert_eq!(nothing(Some(0.0)).saving(PLAIN, 0.0).error, Some(0.0));
        assert_eq!(nothing(None).saving(PLAIN, 0.0).error, None);
        assert_eq!(nothing(Some(0.0)).saving(PLAIN, 0.0).ratio(5.0), None);
    }
}
