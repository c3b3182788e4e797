//! A generator of numbers that look random, and what is made of many measured ones.

use std::time::Duration;

/// Marsaglia's xorshift with 32 bits of state ("Xorshift RNGs", 2003; shifts 13, 17, 5): the
/// generator that the stress protocol names.
#[derive(Debug, Clone)]
pub struct XorShift32(u32);

impl XorShift32 {
    /// The generator of a seed; 0, on which it would stand still, counts as another number.
    pub fn new(seed: u32) -> Self {
        Self(if seed == 0 { 0x9e37_79b9 } else { seed })
    }

    /// The next number, 1 to 2^32 - 1.
    pub fn draw(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A number below `bound` made of the next one. Mixed (the finalizer of MurmurHash3), as every
    /// bit of this generator is the sum of a few bits of the number before: a choice would
    /// follow from the last choice.
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut mixed = self.draw();
        mixed = (mixed ^ mixed >> 16).wrapping_mul(0x85eb_ca6b);
        mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
        mixed ^= mixed >> 16;
        ((u64::from(mixed) * u64::from(bound)) >> 32) as u32
    }

    /// All numbers below `len`, in an order that follows from the seed (Fisher and Yates).
    pub fn shuffled(mut self, len: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len).collect();
        for last in (1..len).rev() {
            order.swap(last as usize, self.below(last + 1) as usize);
        }
        order
    }
}

/// The value that a share `quantile` of the `sorted` values does not exceed; `None` if there are
/// none.
pub fn quantile<T: Copy>(sorted: &[T], quantile: f64) -> Option<T> {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The median; the mean of the middle two of an even number. `None` if there are no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

/// What it costs to read a clock twice, in nanoseconds: the median of many tries.
pub fn timer_cost(mut read_twice: impl FnMut() -> Duration) -> u64 {
    let mut costs: Vec<u64> = (0..1001).map(|_| read_twice().as_nanos() as u64).collect();
    costs.sort_unstable();
    quantile(&costs, 0.5).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_marsaglias() {
        let mut numbers = XorShift32::new(1);
        let drawn = [numbers.draw(), numbers.draw(), numbers.draw()];
        assert_eq!(drawn, [270_369, 67_634_689, 2_647_435_461]);
        let mut numbers = XorShift32::new(0);
        assert_ne!(numbers.draw(), numbers.draw());
        assert!((0..1000).all(|_| numbers.below(7) < 7));
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let order = XorShift32::new(5).shuffled(1000);
        assert_ne!(order[..100], *(0..100).collect::<Vec<_>>());
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1000));
        assert_eq!(order, XorShift32::new(5).shuffled(1000));
    }

    #[test]
    fn quantiles_and_medians_are_those_of_the_book() {
        let values: Vec<u32> = (1..=1000).collect();
        assert_eq!(quantile(&values, 0.5), Some(500));
        assert_eq!(quantile(&values, 0.999), Some(999));
        assert_eq!(quantile(&values, 1.0), Some(1000));
        assert_eq!(quantile::<u32>(&[], 0.5), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
