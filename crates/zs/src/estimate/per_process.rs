//! The saving of each process's pages.

use crate::estimate::protocol::Part;

/// The processes whose pages lie one after the other in a page file. Allocated when it is made, and
/// not later, so that no measurement of memory sees it.
#[derive(Debug)]
pub(super) struct PerProcess {
    /// The end of each process's pages; empty if the pages are not those of processes.
    ends: Vec<usize>,
    parts: Vec<Part>,
    /// The process of the page that was counted last: pages come in ascending order, almost.
    at: usize,
}

impl PerProcess {
    /// `pages` of each process.
    pub(super) fn new(pages: &[u64]) -> Self {
        let mut end = 0;
        let ends = pages.iter().map(|&pages| {
            end += pages as usize;
            end
        });
        Self {
            ends: ends.collect(),
            parts: vec![Part::default(); pages.len()],
            at: 0,
        }
    }

    /// Forgets what was counted.
    pub(super) fn restart(&mut self) {
        self.parts.fill(Part::default());
        self.at = 0;
    }

    /// Returns what was counted; nothing is left.
    pub(super) fn take(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    pub(super) fn count_same_filled(&mut self, page: usize, is_zero: bool) {
        if let Some(part) = self.of(page) {
            part.pages += 1;
            part.same_filled += 1;
            part.zero += u64::from(is_zero);
        }
    }

    pub(super) fn count_stored(&mut self, page: usize, len: usize) {
        if let Some(part) = self.of(page) {
            part.pages += 1;
            part.payload_bytes += len as u64;
            part.payload_squares += (len as f64).powi(2);
        }
    }

    fn of(&mut self, page: usize) -> Option<&mut Part> {
        // A batch's same-filled pages are counted after its stored ones, which may be those of the
        // next process.
        let is_here = |at: usize, ends: &[usize]| {
            let start = at.checked_sub(1).map_or(0, |before| ends[before]);
            ends.get(at)
                .is_some_and(|&end| (start..end).contains(&page))
        };
        if !is_here(self.at, &self.ends) {
            self.at = self.ends.partition_point(|&end| end <= page);
        }
        self.parts.get_mut(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_for_the_process_they_are_of() {
        let mut parts = PerProcess::new(&[3, 0, 2]);
        for page in [0, 2, 3] {
            parts.count_stored(page, 100);
        }
        // Back again, as at the end of a batch.
        parts.count_same_filled(1, true);
        parts.count_same_filled(4, false);
        let counts = |part: &Part| (part.pages, part.same_filled, part.zero, part.payload_bytes);
        let all = parts.take();
        assert_eq!(
            all.iter().map(counts).collect::<Vec<_>>(),
            [(3, 1, 1, 200), (0, 0, 0, 0), (2, 1, 0, 100)]
        );
        assert_eq!(all[0].payload_squares, 20_000.0);
    }

    #[test]
    fn a_new_start_forgets() {
        let mut parts = PerProcess::new(&[2]);
        parts.count_stored(1, 7);
        parts.restart();
        assert_eq!(parts.take(), [Part::default()]);
    }

    #[test]
    fn files_have_no_parts() {
        let mut parts = PerProcess::new(&[]);
        parts.count_stored(0, 7);
        parts.count_same_filled(1, true);
        assert_eq!(parts.take(), []);
    }
}
