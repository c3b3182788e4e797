//! What there is to know of a disk: asked by `zs ctl stat` and `top`, and the source of the
//! metrics.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Requests by duration: number i of those of 2^i ns, and less than twice that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Buckets(pub(crate) Vec<u64>);

impl Buckets {
    /// Returns where bucket number `index` ends.
    pub(crate) fn end(index: usize) -> Duration {
        Duration::from_nanos(2_u64.saturating_pow(index as u32 + 1))
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns what a share of all took at most, as near as the buckets tell; `None` if there were
    /// none.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = (self.total() as f64 * share).ceil().max(1.0) as u64;
        let mut sum = 0;
        for (index, count) in self.0.iter().enumerate() {
            sum += count;
            if sum >= wanted {
                return Some(Self::end(index));
            }
        }
        None
    }

    /// Returns what came since `earlier`; all of it, if that is of before a reset.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let pairs = self.0.iter().zip(&earlier.0);
        let differences = pairs.map(|(now, then)| now.checked_sub(*then));
        let differences: Option<Vec<u64>> = differences.collect();
        differences.map_or_else(|| self.clone(), Self)
    }
}

/// Requests of one kind, since the server started or the disk was reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Operations {
    /// That were answered.
    pub(crate) requests: u64,
    /// That they moved; not counted of discards.
    pub(crate) bytes: u64,
    pub(crate) latency: Buckets,
    /// Nanoseconds that all of them took together, those that failed among them.
    pub(crate) time_ns: u64,
}

/// What one algorithm compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AlgorithmBlocks {
    pub(crate) priority: u8,
    pub(crate) name: String,
    pub(crate) blocks: u64,
}

/// A disk: sizes in bytes, the rest in blocks, by the kernel's names where it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    pub(crate) export: String,
    /// Connected now.
    pub(crate) clients: u64,
    pub(crate) block_size: u64,
    pub(crate) disksize: u64,
    pub(crate) orig_data_size: u64,
    pub(crate) compr_data_size: u64,
    pub(crate) mem_used_total: u64,
    pub(crate) mem_limit: u64,
    pub(crate) mem_used_max: u64,
    pub(crate) same_pages: u64,
    pub(crate) pages_compacted: u64,
    pub(crate) huge_pages: u64,
    pub(crate) huge_pages_since: u64,
    pub(crate) failed_reads: u64,
    pub(crate) failed_writes: u64,
    pub(crate) notify_free: u64,
    pub(crate) bd_count: u64,
    pub(crate) bd_reads: u64,
    pub(crate) bd_writes: u64,
    /// Of the memory used, in bytes.
    pub(crate) metadata: u64,
    /// Blocks that share an object.
    pub(crate) shared_blocks: u64,
    pub(crate) shared_objects: u64,
    pub(crate) recompressed: u64,
    pub(crate) algorithms: Vec<AlgorithmBlocks>,
    pub(crate) backing_used: u64,
    /// 0 without a backing.
    pub(crate) backing_size: u64,
    /// Bytes that may still be written back.
    pub(crate) writeback_limit: Option<u64>,
    pub(crate) read: Operations,
    pub(crate) write: Operations,
    pub(crate) discard: Operations,
}

impl Stat {
    /// Returns what is stored over the memory that it takes, if anything is; what lies in the
    /// backing takes none.
    pub(crate) fn ratio(&self) -> Option<f64> {
        (self.orig_data_size > 0 && self.mem_used_total > 0)
            .then(|| self.orig_data_size as f64 / self.mem_used_total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_ends_of_buckets() {
        let buckets = Buckets(vec![0, 50, 49, 0, 1]);
        let ns = |share| buckets.quantile(share).map(|time| time.as_nanos());
        assert_eq!([ns(0.0), ns(0.5), ns(0.99)], [Some(4), Some(4), Some(8)]);
        assert_eq!(ns(1.0), Some(32));
        assert_eq!(Buckets(vec![0; 5]).quantile(0.5), None);
        assert_eq!(Buckets::end(39).as_nanos(), 1 << 40);
    }

    #[test]
    fn differences_begin_anew_after_a_reset() {
        let (old, new) = (Buckets(vec![1, 2]), Buckets(vec![1, 5]));
        assert_eq!(new.since(&old), Buckets(vec![0, 3]));
        assert_eq!(old.since(&new), old);
        assert_eq!(new.since(&Buckets::default()).total(), 0);
    }
}
