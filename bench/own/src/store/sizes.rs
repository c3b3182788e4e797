//! Sizes of blocks and requests.

use anyhow::{Result, ensure};
use zs_pages::MappedPages;

/// Bytes of a block, and of a page.
pub(super) const PAGE: usize = 4096;
/// Bytes of a large request.
pub(super) const LARGE: usize = 128 << 10;

/// The pages, as far as they are whole large requests.
pub(super) fn whole(pages: &MappedPages) -> Result<&[u8]> {
    let bytes = &pages.bytes()[..pages.len() * PAGE / LARGE * LARGE];
    ensure!(
        bytes.len() >= 8 * LARGE,
        "{} pages are too few: at least {} are needed",
        pages.len(),
        8 * LARGE / PAGE
    );
    Ok(bytes)
}
