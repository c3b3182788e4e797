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
    /// Returns the set of `len` frames from `start`.
    pub(crate) fn range(start: usize, len: usize) -> Self {
        let mut mask = Self::default();
        let end = start + len;
        for (word, bits) in mask.0.iter_mut().enumerate() {
            let (from, to) = (start.max(word * 64), end.min(word * 64 + 64));
            if from < to {
                *bits = u64::MAX >> (64 - (to - from)) << (from % 64);
            }
        }
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

    /// Returns the frames, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let frame = rest.first()?;
            rest.0[frame / 64] &= rest.0[frame / 64] - 1;
            Some(frame)
        })
    }

    /// Returns the longest runs of neighbouring frames, ascending, as (start, length).
    pub(crate) fn runs(self) -> impl Iterator<Item = (usize, usize)> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let start = self.next(from, 0)?;
            let end = self.next(start, u64::MAX).unwrap_or(MASK_WORDS * 64);
            from = end;
            Some((start, end - start))
        })
    }

    /// Returns the first frame from `from` on that is in the set; with `flip` all ones, that is
    /// not.
    fn next(&self, from: usize, flip: u64) -> Option<usize> {
        let mut unseen = u64::MAX << (from % 64);
        for (word, bits) in self.0.iter().enumerate().skip(from / 64) {
            let left = (bits ^ flip) & unseen;
            if left != 0 {
                return Some(word * 64 + left.trailing_zeros() as usize);
            }
            unseen = u64::MAX;
        }
        None
    }

    /// Returns the set, and with each frame all of its group of `group` neighbours.
    pub(crate) fn with_whole_groups(self, group: usize) -> Self {
        if group == 1 {
            return self;
        }
        self.iter().fold(self, |groups, frame| {
            groups.or(Self::range(frame - frame % group, group))
        })
    }

    /// Returns the groups of `group` neighbouring frames that lie wholly in the set, at most
    /// `limit` frames of them (a multiple of `group`), highest first.
    pub(crate) fn whole_groups(self, group: usize, limit: usize) -> Self {
        if group == 1 && self.count() <= limit {
            return self;
        }
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
    fn whole_groups_round_a_set_up() {
        let mask = FrameMask::range(5, 8);
        assert_eq!(mask.with_whole_groups(1), mask);
        assert_eq!(mask.with_whole_groups(4), FrameMask::range(4, 12));
        assert!(FrameMask::default().with_whole_groups(16).is_empty());
    }

    #[test]
    fn ranges_and_runs_agree_bit_by_bit() {
        for start in [0, 1, 63, 64, 65, 300, 511] {
            for len in [0, 1, 2, 63, 64, 65, 128, 200] {
                let len = len.min(MASK_WORDS * 64 - start);
                let mask = FrameMask::range(start, len);
                for frame in 0..MASK_WORDS * 64 {
                    assert_eq!(mask.contains(frame), (start..start + len).contains(&frame));
                }
                let runs: Vec<_> = mask.runs().collect();
                assert_eq!(runs, if len == 0 { vec![] } else { vec![(start, len)] });
            }
        }
    }

    #[test]
    fn a_full_block_is_one_run() {
        let full = FrameMask::range(0, 512);
        assert_eq!(full.runs().collect::<Vec<_>>(), [(0, 512)]);
        assert_eq!(full.whole_groups(16, 512), full);
    }
}
