//! Pages that several processes share, each counted once.

use super::pagemap::Entry;
use std::collections::HashSet;

/// The frames, and places in swap, of shared pages that were counted: some 16 bytes for each.
#[derive(Debug, Default)]
pub(super) struct SeenPlaces(HashSet<u64>);

/// What is known of a page's sharing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody else's, or counted for the first time.
    Counts,
    /// A page that was counted before, for another process or another address.
    Again,
    /// Shared, and the kernel does not say with whom: that takes `CAP_SYS_ADMIN`.
    Hidden,
}

impl SeenPlaces {
    pub(super) fn look(&mut self, entry: Entry) -> Sharing {
        if entry.is_exclusive() {
            return Sharing::Counts;
        }
        match entry.place() {
            // In swap a page says nothing of its sharing, and most are not shared.
            None if entry.is_swapped() => Sharing::Counts,
            None => Sharing::Hidden,
            Some(place) if self.0.insert(place) => Sharing::Counts,
            Some(_) => Sharing::Again,
        }
    }
}
