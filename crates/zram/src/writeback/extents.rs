//! Which units of the backing are taken: a bit each, and above them a bit for each 64 that are all taken.
//!
//! units wanted -> words from where the last search ended -> the first run that is long enough. A search looks at so many words
//! and no more before it lets others have the lock, and then goes on.

use crate::content::Extent;

/// Bytes of a unit.
pub(crate) const UNIT: usize = 128;

/// The most bytes that a backing may have: 512 GiB, of which the last unit is not used.
pub(crate) const MOST_BYTES: u64 = (UNIT as u64) << 32;

/// Words that are looked at in one go: some microseconds.
const LOOKS: u32 = 1024;

#[derive(Debug, Default)]
pub(crate) struct Extents {
    /// What lies behind the last unit is taken.
    bits: Vec<u64>,
    full: Vec<u64>,
    units: u32,
    used: u32,
    /// Where the next search begins.
    hint: u32,
    /// No run of so many units is free.
    missing: u32,
    /// Extents that were freed so far.
    freed: u64,
}

/// How far a search has come.
#[derive(Debug)]
pub(crate) struct Search {
    units: u32,
    at: u32,
    /// Where it ends, once it has begun again from the start.
    end: Option<u32>,
    first: u32,
    freed: u64,
}

/// Where a search is after one go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Run(u32),
    Nowhere,
    GoOn,
}

impl Extents {
    fn words(units: u32) -> (usize, usize) {
        let words = units.div_ceil(64) as usize;
        (words, words.div_ceil(64))
    }

    /// Bytes of memory that so many units need.
    pub(crate) fn bytes_for(units: u32) -> u64 {
        let (words, groups) = Self::words(units);
        (words + groups) as u64 * 8
    }

    /// All free; `None` if there is no memory for the bits.
    pub(crate) fn new(units: u32) -> Option<Self> {
        let (words, groups) = Self::words(units);
        let mut all = [Vec::new(), Vec::new()];
        for ((bits, words), used) in all
            .iter_mut()
            .zip([words, groups])
            .zip([units, words as u32])
        {
            bits.try_reserve_exact(words).ok()?;
            bits.resize(words, 0);
            if let (Some(last), 1..) = (bits.last_mut(), used % 64) {
                *last = u64::MAX << (used % 64);
            }
        }
        let [bits, full] = all;
        Some(Self {
            bits,
            full,
            units,
            missing: u32::MAX,
            ..Self::default()
        })
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    /// Whether not one unit is free.
    pub(crate) fn is_full(&self) -> bool {
        self.used == self.units
    }

    fn mark(&mut self, start: u32, units: u16, taken: bool) {
        let (mut at, end) = (start, start + u32::from(units));
        while at < end {
            let index = at as usize / 64;
            let here = (64 - at % 64).min(end - at);
            let mask = (u64::MAX >> (64 - here)) << (at % 64);
            let word = &mut self.bits[index];
            debug_assert_eq!(
                *word & mask,
                if taken { 0 } else { mask },
                "taken once, freed once"
            );
            *word ^= mask;
            let group = 1 << (index % 64);
            if *word == u64::MAX {
                self.full[index / 64] |= group;
            } else {
                self.full[index / 64] &= !group;
            }
            at += here;
        }
    }

    /// A search for `units` neighbouring units: the next after those that were taken last, or the first.
    pub(crate) fn search(&self, units: u16) -> Search {
        Search {
            units: units.into(),
            at: self.hint,
            end: None,
            first: self.hint,
            freed: self.freed,
        }
    }

    /// Goes on with a search, and takes what it finds.
    pub(crate) fn take(&mut self, search: &mut Search) -> Found {
        if search.units >= self.missing {
            return Found::Nowhere;
        }
        let mut looks = LOOKS;
        loop {
            if let Some(start) = self.find(search, &mut looks) {
                self.mark(start, search.units as u16, true);
                self.used += search.units;
                self.hint = start + search.units;
                return Found::Run(start);
            }
            if looks == 0 {
                return Found::GoOn;
            }
            if search.end.is_some() {
                // Only if nothing came free behind the search's back.
                if search.freed == self.freed {
                    self.missing = search.units;
                }
                return Found::Nowhere;
            }
            (search.at, search.end) = (0, Some(search.first));
        }
    }

    /// The next run that is long enough; `None` at the end, or when there were enough looks.
    fn find(&self, search: &mut Search, looks: &mut u32) -> Option<u32> {
        while *looks > 0 {
            let start = self.next_free(search.at, looks)?;
            search.at = start;
            if search.end.is_some_and(|end| start >= end) {
                return None;
            }
            let run = self.free_from(start, search.units);
            *looks = looks.saturating_sub(run / 64 + 1);
            if run == search.units {
                return Some(start);
            }
            search.at = start + run;
        }
        None
    }

    /// The first free unit from `at` on.
    fn next_free(&self, at: u32, looks: &mut u32) -> Option<u32> {
        let word = at as usize / 64;
        let free = !self.bits.get(word)? & (u64::MAX << (at % 64));
        if free != 0 {
            return Some(word as u32 * 64 + free.trailing_zeros());
        }
        let first = word + 1;
        let mut mask = u64::MAX << (first % 64);
        for group in first / 64..self.full.len() {
            *looks = looks.saturating_sub(1);
            let open = !self.full[group] & mask;
            if open != 0 {
                let word = group * 64 + open.trailing_zeros() as usize;
                return Some(word as u32 * 64 + self.bits[word].trailing_ones());
            }
            mask = u64::MAX;
        }
        None
    }

    /// Free units from `at` on, at most so many.
    fn free_from(&self, at: u32, most: u32) -> u32 {
        let mut run = 0;
        while run < most && (at + run) < self.units {
            let unit = at + run;
            let free = (self.bits[unit as usize / 64] >> (unit % 64)).trailing_zeros();
            let here = free.min(64 - unit % 64);
            run += here;
            if here < 64 - unit % 64 {
                break;
            }
        }
        run.min(most)
    }

    /// Free units that end before `at`, at most so many.
    fn free_before(&self, at: u32, most: u32) -> u32 {
        let mut run = 0;
        while run < most && run < at {
            let last = at - run - 1;
            let free = (self.bits[last as usize / 64] << (63 - last % 64)).leading_zeros();
            let here = free.min(last % 64 + 1);
            run += here;
            if here < last % 64 + 1 {
                break;
            }
        }
        run.min(most)
    }

    pub(crate) fn free(&mut self, extent: Extent) {
        let units = u32::from(extent.units);
        self.mark(extent.start, extent.units, false);
        self.used -= units;
        self.freed += 1;
        if self.missing < u32::MAX {
            // No longer one than the one that has just come about is free: others have not changed.
            let most = u32::from(u16::MAX);
            let before = self.free_before(extent.start, most);
            let run = before + units + self.free_from(extent.start + units, most);
            self.missing = self.missing.max(run + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(extents: &mut Extents, units: u16) -> Option<Extent> {
        let mut search = extents.search(units);
        loop {
            match extents.take(&mut search) {
                Found::Run(start) => {
                    return Some(Extent {
                        start,
                        units,
                        round: 0,
                    });
                }
                Found::Nowhere => return None,
                Found::GoOn => {}
            }
        }
    }

    #[test]
    fn every_unit_is_taken_once_and_found_again() {
        let mut extents = Extents::new(200).expect("memory");
        let first: Vec<_> = std::iter::from_fn(|| take(&mut extents, 7)).collect();
        assert_eq!((first.len(), extents.used()), (28, 196));
        assert_eq!(take(&mut extents, 5), None);
        assert_eq!(take(&mut extents, 4).map(|extent| extent.start), Some(196));
        extents.free(first[3]);
        extents.free(first[4]);
        assert_eq!(take(&mut extents, 15), None);
        assert_eq!(take(&mut extents, 14).map(|extent| extent.start), Some(21));
        assert_eq!(extents.used(), 200);
    }

    /// Random extents against a plain vector of flags: each search finds a run if and only if there is one.
    #[test]
    fn as_a_vector_of_flags() {
        let mut random = fastrand::Rng::with_seed(5);
        for units in [1_u32, 63, 64, 65, 700, 64 * 64 + 1] {
            let mut extents = Extents::new(units).expect("memory");
            let mut taken = vec![false; units as usize];
            let mut live: Vec<Extent> = Vec::new();
            let (mut refused, mut after_a_refusal) = (0, 0);
            for _ in 0..4000 {
                if random.u8(..9) < 5 {
                    let wanted = random.u16(1..=(units as u16).min(140));
                    let there = taken
                        .chunk_by(|a, b| a == b)
                        .any(|run| !run[0] && run.len() >= wanted.into());
                    let extent = take(&mut extents, wanted);
                    assert_eq!(extent.is_some(), there, "{wanted} of {units}");
                    refused += u32::from(!there);
                    if let Some(extent) = extent {
                        after_a_refusal += u32::from(refused > 0);
                        let start = extent.start as usize;
                        taken[start..start + usize::from(wanted)]
                            .iter_mut()
                            .for_each(|flag| assert!(!std::mem::replace(flag, true)));
                        live.push(extent);
                    }
                } else if !live.is_empty() {
                    let extent = live.swap_remove(random.usize(..live.len()));
                    let start = extent.start as usize;
                    taken[start..start + usize::from(extent.units)].fill(false);
                    extents.free(extent);
                }
            }
            assert!(refused > 0 && after_a_refusal > 0);
            assert_eq!(
                extents.used() as usize,
                taken.iter().filter(|flag| **flag).count()
            );
        }
    }

    /// A search that finds nothing looks at a bounded number of words each time it has the lock, and the next one of
    /// this length at none.
    #[test]
    fn a_full_backing_is_searched_in_pieces() {
        let units = 64 * 64 * 3 * LOOKS;
        let mut extents = Extents::new(units).expect("memory");
        for _ in 0..units / 512 {
            take(&mut extents, 512).expect("room");
        }
        // One unit in each word.
        for word in 0..units / 64 {
            extents.free(Extent {
                start: word * 64,
                units: 1,
                round: 0,
            });
        }
        let mut search = extents.search(2);
        let mut gos = 1;
        while extents.take(&mut search) == Found::GoOn {
            gos += 1;
        }
        assert!(gos >= units / 64 / LOOKS, "{gos}");
        assert_eq!(extents.take(&mut extents.search(2)), Found::Nowhere);
        assert!(matches!(
            extents.take(&mut extents.search(1)),
            Found::Run(_)
        ));
    }
}
