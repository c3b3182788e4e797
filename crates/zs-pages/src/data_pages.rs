//! The pages of a page file that are no holes, numbered without gaps.

use crate::page_file::{Extent, MappedPages};
use std::ops::Range;
use zs_mm::PageSize;

/// The pages of [`MappedPages`] that are no holes, numbered without gaps. Pages of a hole are zeros
/// that were never written.
#[derive(Debug, Clone, Copy)]
pub struct DataPages<'a>(&'a MappedPages);

impl MappedPages {
    /// Returns the pages that are no holes.
    pub fn data(&self) -> DataPages<'_> {
        DataPages(self)
    }
}

impl<'a> DataPages<'a> {
    /// Returns the number of pages of data.
    pub fn len(&self) -> usize {
        self.0.extents().last().map_or(0, Extent::end)
    }

    /// Says whether all pages are holes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of pages that are holes.
    pub fn holes(&self) -> usize {
        self.0.len() - self.len()
    }

    /// Returns the size of a page.
    pub fn page_size(&self) -> PageSize {
        self.0.page_size()
    }

    /// Returns a page of data, or `None` beyond the last one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let extents = self.0.extents();
        let at = extents.partition_point(|extent| extent.end() <= index);
        let extent = extents.get(at)?;
        self.0.get(extent.pages.start + (index - extent.first))
    }

    /// Returns all pages of data, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let pages = self.0;
        let numbers = pages.extents().iter().flat_map(|e| e.pages.clone());
        numbers.filter_map(|number| pages.get(number))
    }

    /// Does the same as [`MappedPages::forget`], for a range of pages of data.
    pub fn forget(&self, pages: Range<usize>) {
        for extent in self.0.extents() {
            let start = pages.start.max(extent.first);
            let end = pages.end.min(extent.end());
            if start < end {
                let base = extent.pages.start;
                self.0
                    .forget(base + start - extent.first..base + end - extent.first);
            }
        }
    }
}
