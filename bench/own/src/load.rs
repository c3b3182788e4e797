//! The objects: which bytes each consists of, as often as they are asked for.
//!
//! `number -> (copy, page) -> LZ4, or the page itself if that is no longer -> length jittered`

use crate::numbers::XorShift32;
use anyhow::{Result, bail};
use zcomp::{Algorithm, Compressed, Stream};
use zs_pages::{MappedPages, same_filled};

/// By how many bytes at most the length of a copy differs from its original's.
const JITTER: u32 = 8;

/// Objects by number: every page that is not same-filled, then all of them again for each further
/// copy.
pub(crate) struct Load<'a> {
    pages: &'a MappedPages,
    /// Pages that are not same-filled.
    stored: Vec<u32>,
    objects: u32,
    seed: u32,
    stream: Stream,
    bytes: Vec<u8>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(pages: &'a MappedPages, copies: u32, seed: u32) -> Result<Self> {
        let page = pages.page_size().bytes();
        let differing = pages
            .iter()
            .zip(0..)
            .filter(|(page, _)| same_filled(page).is_none());
        let stored: Vec<u32> = differing.map(|(_, number)| number).collect();
        let Some(objects) = u32::try_from(stored.len())
            .ok()
            .and_then(|len| len.checked_mul(copies))
        else {
            bail!(
                "{} pages {copies} times are too many: at most 2^32 - 1 objects are allowed",
                stored.len()
            );
        };
        if objects < 100 {
            bail!(
                "{objects} objects (pages that are not same-filled, times copies) are too few: at least 100 are needed"
            );
        }
        Ok(Self {
            pages,
            stored,
            objects,
            seed,
            stream: Stream::new(Algorithm::Lz4, page)?,
            bytes: vec![
                0xff;
                Algorithm::Lz4
                    .max_compressed_len(page)
                    .max(page + JITTER as usize)
            ],
        })
    }

    /// How many objects there are.
    pub(crate) fn objects(&self) -> u32 {
        self.objects
    }

    /// The bytes of an object: at least one, a page at most.
    pub(crate) fn object(&mut self, number: u32) -> Result<&[u8]> {
        let (copy, at) = (
            number as usize / self.stored.len(),
            number as usize % self.stored.len(),
        );
        let Some(page) = self.pages.get(self.stored[at] as usize) else {
            bail!("there is no page {}", self.stored[at]);
        };
        let len = match self.stream.compress(page, &mut self.bytes)? {
            Compressed::Fits(len) if len < page.len() => len,
            _ => {
                self.bytes[..page.len()].copy_from_slice(page);
                page.len()
            }
        };
        let max = page.len();
        let len = if copy == 0 {
            len
        } else {
            self.jitter(number, len, max)
        };
        Ok(&self.bytes[..len])
    }

    /// A length up to [`JITTER`] away, 1 to `max`; bytes that this adds follow from seed and
    /// number.
    fn jitter(&mut self, number: u32, len: usize, max: usize) -> usize {
        // Multiplied by an odd constant, so that neighbours begin far apart.
        let mut numbers = XorShift32::new(self.seed ^ number.wrapping_mul(0x9e37_79b1));
        let jittered = len + numbers.below(2 * JITTER + 1) as usize;
        let jittered = jittered.saturating_sub(JITTER as usize).clamp(1, max);
        for byte in self.bytes[..jittered].iter_mut().skip(len) {
            *byte = numbers.draw() as u8;
        }
        jittered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use zs_mm::PageSize;
    use zs_pages::Collector;

    #[test]
    fn objects_are_the_same_whenever_they_are_asked_for() {
        let mut collector = Collector::new(PageSize::K4).unwrap();
        collector
            .add_file("/proc/self/exe".as_ref(), &mut |_| ())
            .unwrap();
        let pages = collector.finish().unwrap().0.map().unwrap();
        let mut load = Load::new(&pages, 3, 7).unwrap();
        let all: Vec<Vec<u8>> = (0..load.objects())
            .map(|number| load.object(number).unwrap().to_vec())
            .collect();
        for number in (0..load.objects()).rev() {
            assert_eq!(load.object(number).unwrap(), all[number as usize]);
        }
        let one = all.len() / 3;
        let mut steps = HashSet::new();
        for (copy, original) in all[one..].iter().zip(all[..one].iter().cycle()) {
            let common = copy.len().min(original.len());
            assert_eq!(copy[..common], original[..common]);
            assert!((1..=4096).contains(&copy.len()));
            steps.insert(copy.len() as i64 - original.len() as i64);
        }
        let jitter = i64::from(JITTER);
        assert_eq!(
            steps,
            (-jitter..=jitter).collect(),
            "every length is met, and no other"
        );
    }
}
