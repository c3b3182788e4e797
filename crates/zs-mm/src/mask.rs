//! Sets of frames within one pageblock.

/// Words of a set: a pageblock has at most 512 frames.
pub(crate) const MASK_WORDS: usize = 8;

/// The most runs of a set: every other frame. Models make do with fewer.
pub(crate) const MAX_RUNS: usize = if cfg!(zs_loom) {
    8
} else {
    MASK_WORDS * 64 / 2
};

/// A set of frames of one pageblock, by their number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameMask(pub(crate) [u64; MASK_WORDS]);

impl FrameMask {
    /// The set of `len` frames from `start`.
    pub(crate) fn range(start: usize, len: usize) -> Self {
        let mut mask = Self::default();
        (start..start + len).for_each(|frame| mask.insert(frame));
        mask
    }

    pub(crate) fn insert(&mut self, frame: usize) {
        self.0[frame / 64] |= 1 << (frame % 64);
    }

    pub(crate) fn contains(&self, frame: usize) -> bool {
        self.0[frame / 64] & (1 << (frame % 64)) != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; MASK_WORDS]
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    fn zip(mut self, other: Self, op: impl Fn(u64, u64) -> u64) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = op(*a, b);
        }
        self
    }

    /// The frames, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let frame = rest.first()?;
            rest.0[frame / 64] &= rest.0[frame / 64] - 1;
            Some(frame)
        })
    }

    /// The longest runs of neighbouring frames, ascending, as (start, length).
    pub(crate) fn runs(self) -> impl Iterator<Item = (usize, usize)> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let start = rest.first()?;
            let end = (start..MASK_WORDS * 64)
                .find(|&frame| !rest.contains(frame))
                .unwrap_or(MASK_WORDS * 64);
            rest = rest.without(Self::range(start, end - start));
            Some((start, end - start))
        })
    }

    /// The groups of `group` neighbouring frames that lie wholly in the set, at most `limit`
    /// frames of them (a multiple of `group`), highest first.
    pub(crate) fn whole_groups(self, group: usize, limit: usize) -> Self {
        let mut groups = Self::default();
        let mut left = limit;
        for start in (0..MASK_WORDS * 64).step_by(group).rev() {
            if left < group {
                break;
            }
            let candidate = Self::range(start, group);
            if self.and(candidate) == candidate {
                groups = groups.or(candidate);
                left -= group;
            }
        }
        groups
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_the_set_exactly() {
        let mut mask = FrameMask::range(3, 70);
        mask.insert(511);
        mask.insert(200);
        let runs: Vec<_> = mask.runs().collect();
        assert_eq!(runs, [(3, 70), (200, 1), (511, 1)]);
        assert_eq!(mask.count(), 72);
        assert_eq!(mask.iter().count(), 72);
        assert!(mask.iter().all(|frame| mask.contains(frame)));
    }

    #[test]
    fn whole_groups_leave_partial_ones() {
        let mask = FrameMask::range(1, 10);
        assert_eq!(mask.whole_groups(4, 512), FrameMask::range(4, 4));
        assert_eq!(mask.whole_groups(1, 3), FrameMask::range(8, 3));
        assert!(mask.whole_groups(4, 3).is_empty());
    }

    #[test]
    fn a_full_block_is_one_run() {
        let full = FrameMask::range(0, 512);
        assert_eq!(full.runs().collect::<Vec<_>>(), [(0, 512)]);
        assert_eq!(full.whole_groups(16, 512), full);
    }
}
