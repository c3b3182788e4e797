//! How long requests take.

pub(crate) const BUCKETS: usize = 40;

/// Counts of requests by duration: number i of those below 2^(i + 1) ns that are not in a lower
/// one. The last has all that are longer, too.
pub type Histogram = [u64; BUCKETS];

/// A kind of request that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timed {
    Read,
    Write,
    Discard,
}

pub(crate) const TIMED: usize = 3;

pub(crate) fn bucket_of(ns: u64) -> usize {
    (ns.max(1).ilog2() as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        let buckets = [0, 1, 2, 3, 4, 1023, 1024, u64::MAX].map(bucket_of);
        assert_eq!(buckets, [0, 0, 1, 1, 2, 9, 10, 39]);
    }
}
