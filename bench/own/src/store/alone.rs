//! One store, by one thread, beside the bare codec on the same pages in the same order, and beside
//! a flat array of the same compressed forms.

use super::cost::{Cost, cost};
use super::sizes::PAGE;
use crate::numbers::XorShift32;
use anyhow::{Result, ensure};
use zcomp::{Algorithm, Compressed, Stream};
use zram::{Store, StoreOptions};

/// What zram takes at most of a page, so that it counts as compressed.
const MOST: usize = PAGE - PAGE / 32;

/// The same compressed forms one after the other, as the codec left them; raw ones as long as a
/// page.
#[derive(Debug, Default)]
struct Flat {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Flat {
    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }
}

/// The pages, and what they are compared with.
pub(super) struct Alone<'a> {
    pages: &'a [[u8; PAGE]],
    order: Vec<u32>,
    stream: Stream,
    flat: Flat,
}

/// What one round measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speeds {
    pub(super) codec: Cost,
    /// Fresh writes into memory never used before.
    pub(super) first: Cost,
    /// Fresh writes into memory that the store has.
    pub(super) fresh: Cost,
    pub(super) flat_read: Cost,
    pub(super) read: Cost,
}

impl<'a> Alone<'a> {
    pub(super) fn new(bytes: &'a [u8], seed: u32) -> Result<Self> {
        let (pages, _) = bytes.as_chunks();
        let mut stream = Stream::new(Algorithm::Lz4, PAGE)?;
        let mut flat = Flat::default();
        let mut room = [0; PAGE];
        for page in pages {
            match stream.compress(page, &mut room[..MOST])? {
                Compressed::Fits(len) => flat.bytes.extend_from_slice(&room[..len]),
                Compressed::DoesNotFit => flat.bytes.extend_from_slice(page),
            }
            flat.ends.push(flat.bytes.len());
        }
        Ok(Self {
            pages,
            order: XorShift32::new(seed).shuffled(pages.len() as u32),
            stream,
            flat,
        })
    }

    fn bytes(&self) -> usize {
        size_of_val(self.pages)
    }

    /// All that is measured, of a new store.
    pub(super) fn round(&mut self) -> Result<Speeds> {
        let codec = self.compress()?;
        let store = Store::new(StoreOptions::new(self.bytes() as u64))?;
        let first = self.write(&store)?;
        // Memory is not given back, so that it is not touched for the first time below.
        store.discard(0, store.size())?;
        let fresh = self.write(&store)?;
        Ok(Speeds {
            codec,
            first,
            fresh,
            flat_read: self.flat_reads()?,
            read: self.reads(&store)?,
        })
    }

    fn compress(&mut self) -> Result<Cost> {
        let mut room = [0; PAGE];
        let (pages, stream) = (self.pages, &mut self.stream);
        cost(size_of_val(pages), || {
            for page in pages {
                // What the store does first, so that both skip the same pages.
                if zs_pages::same_filled(page).is_none() {
                    let _ = stream.compress(page, &mut room[..MOST])?;
                }
            }
            Ok(())
        })
    }

    fn write(&self, store: &Store) -> Result<Cost> {
        cost(self.bytes(), || {
            let places = (0..).step_by(PAGE);
            let mut writes = self.pages.iter().zip(places);
            writes.try_for_each(|(page, at)| Ok(store.write(at, page)?))
        })
    }

    fn flat_reads(&mut self) -> Result<Cost> {
        let mut out = [0; PAGE];
        let bytes = self.bytes();
        let (flat, stream) = (&self.flat, &mut self.stream);
        cost(bytes, || {
            for index in &self.order {
                let bytes = flat.get(*index as usize);
                if bytes.len() == PAGE {
                    out.copy_from_slice(bytes);
                } else {
                    stream.decompress(bytes, &mut out)?;
                }
            }
            Ok(())
        })
    }

    fn reads(&self, store: &Store) -> Result<Cost> {
        let mut out = [0; PAGE];
        let cost = cost(self.bytes(), || {
            let mut order = self.order.iter();
            order.try_for_each(|index| Ok(store.read(u64::from(*index) * PAGE as u64, &mut out)?))
        })?;
        for (page, at) in self.pages.iter().zip((0..).step_by(PAGE)) {
            store.read(at, &mut out)?;
            ensure!(out == *page, "the block at {at} came back changed");
        }
        Ok(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sizes::LARGE;
    use super::*;

    #[test]
    fn a_round_measures_everything() {
        let mut numbers = XorShift32::new(3);
        let bytes: Vec<u8> = (0..8 * LARGE).map(|_| numbers.below(2) as u8).collect();
        let mut alone = Alone::new(&bytes, 1).unwrap();
        assert_eq!(alone.flat.ends.len(), alone.pages.len());
        let speeds = alone.round().unwrap();
        for cost in [speeds.first, speeds.fresh, speeds.read] {
            assert!(cost.wall > 0.0, "{speeds:?}");
        }
    }
}
