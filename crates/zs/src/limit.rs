//! The most that a pool may hold.

use crate::output;
use crate::units::Size;
use zs_mm::{BLOCK_BYTES, MAX_ARENA_BYTES, PageSize};

/// Metadata of a page that is stored as it is: its word, its back reference, its frame's
/// descriptor, and more than its share of a zspage record and a pageblock record.
const METADATA_OF_PAGE: u64 = 64;

/// Committed whatever the number of pages: structures, and tables rounded up to pages of the
/// system.
const METADATA_OF_POOL: u64 = 4 << 20;

/// Returns the limit of each pool: what was asked for, or enough for the worst case if the system
/// has that much.
pub(crate) fn limit(asked: Option<u64>, page: PageSize, pages: u64) -> u64 {
    if let Some(limit) = asked {
        return limit;
    }
    let worst = worst_case(page, pages);
    let available = zs_os::memory_available();
    let limit = bounded(worst, available);
    if limit < worst.min(MAX_ARENA_BYTES) {
        output::note(&format!(
            "uncompressed, {pages} pages of {} could need {}, but {} of memory are available: the limit is set to {}",
            Size(page.bytes() as u64),
            Size(worst),
            Size(available),
            Size(limit),
        ));
    }
    limit
}

/// Returns what a pool holds if no page can be compressed.
fn worst_case(page: PageSize, pages: u64) -> u64 {
    let frame = page.bytes() as u64;
    // Beside full zspages, each class may have a partly filled one, with a frame more than it
    // needs.
    let partly_filled = 2 * zsmalloc::CLASSES as u64 * frame;
    pages * (frame + METADATA_OF_PAGE) + partly_filled + METADATA_OF_POOL
}

/// Returns the worst case, but no more than the system can give without harm, nor than an arena can
/// be.
fn bounded(worst: u64, available: u64) -> u64 {
    let harmless = available - available / 16;
    worst
        .min(harmless)
        .clamp(BLOCK_BYTES as u64, MAX_ARENA_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_worst_case_if_there_is_memory() {
        let worst = worst_case(PageSize::K4, 4064);
        assert!(worst > 4064 << 12);
        assert!(worst < (4064 << 12) + (8 << 20));
        assert_eq!(bounded(worst, 1 << 40), worst);
    }

    #[test]
    fn the_limit_leaves_memory_to_others() {
        assert_eq!(bounded(1 << 40, 16 << 30), 15 << 30);
        assert_eq!(bounded(1 << 40, 0), BLOCK_BYTES as u64);
        assert_eq!(bounded(1 << 50, 1 << 60), MAX_ARENA_BYTES);
    }
}
