//! Which units of the backing are taken: a bit each.

use crate::content::Extent;

/// Bytes of a unit.
pub(crate) const UNIT: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Extents {
    bits: Vec<u64>,
    units: u32,
    used: u32,
    /// Where the next search begins.
    hint: u32,
}

impl Extents {
    /// All free; `None` if there is no memory for the bits.
    pub(crate) fn new(units: u32) -> Option<Self> {
        let words = units.div_ceil(64) as usize;
        let mut bits = Vec::new();
        bits.try_reserve_exact(words).ok()?;
        bits.resize(words, 0);
        Some(Self {
            bits,
            units,
            used: 0,
            hint: 0,
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bits.capacity() as u64 * 8
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    fn is_taken(&self, unit: u32) -> bool {
        self.bits[unit as usize / 64] >> (unit % 64) & 1 != 0
    }

    fn mark(&mut self, extent: Extent, taken: bool) {
        for unit in extent.start..extent.start + u32::from(extent.units) {
            let bit = 1_u64 << (unit % 64);
            let word = &mut self.bits[unit as usize / 64];
            debug_assert_eq!(*word & bit != 0, !taken, "taken once, freed once");
            *word = if taken { *word | bit } else { *word & !bit };
        }
    }

    /// Takes `units` neighbouring units: the next after those that were taken last, or the first.
    pub(crate) fn take(&mut self, units: u16) -> Option<Extent> {
        let start = self
            .find(self.hint, units)
            .or_else(|| self.find(0, units))?;
        let extent = Extent { start, units };
        self.mark(extent, true);
        self.used += u32::from(units);
        self.hint = start + u32::from(units);
        Some(extent)
    }

    fn find(&self, from: u32, units: u16) -> Option<u32> {
        let (mut start, mut unit) = (from, from);
        while unit < self.units {
            if self.bits[unit as usize / 64] == u64::MAX {
                unit = (unit / 64 + 1) * 64;
                start = unit;
                continue;
            }
            let taken = self.is_taken(unit);
            unit += 1;
            if taken {
                start = unit;
            } else if unit - start == u32::from(units) {
                return Some(start);
            }
        }
        None
    }

    pub(crate) fn free(&mut self, extent: Extent) {
        self.mark(extent, false);
        self.used -= u32::from(extent.units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_taken_once_and_found_again() {
        let mut extents = Extents::new(200).expect("memory");
        let first: Vec<_> = std::iter::from_fn(|| extents.take(7)).collect();
        assert_eq!((first.len(), extents.used()), (28, 196));
        assert_eq!(extents.take(5), None);
        assert_eq!(extents.take(4).map(|extent| extent.start), Some(196));
        extents.free(first[3]);
        extents.free(first[4]);
        assert_eq!(extents.take(15), None);
        assert_eq!(extents.take(14).map(|extent| extent.start), Some(21));
        assert_eq!(extents.used(), 200);
    }
}
